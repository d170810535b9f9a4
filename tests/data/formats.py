"""Files of every format and kind of pixels that is read, and what Pillow shows of them."""

import functools
import io

import numpy as np
import tifffile
from PIL import Image, ImageOps

from tests.drawn import as_image, drawn, encoded

SIZE = (21, 34)
MODES = {
    "gray": as_image(drawn(*SIZE, 1)),
    "gray with alpha": as_image(drawn(*SIZE, 2)),
    "RGB": as_image(drawn(*SIZE, 3)),
    "RGBA": as_image(drawn(*SIZE, 4)),
    "palette": as_image(drawn(*SIZE, 3)).quantize(23),
    "black and white": as_image(drawn(*SIZE, 1)).convert("1"),
}
CMYK = as_image(drawn(*SIZE)).convert("CMYK")


def levels16(channels):
    """16-bit levels whose both bytes differ everywhere: uint16 `(H, W, C)`."""
    return drawn(*SIZE, channels).astype("uint16") << 8 | drawn(*SIZE, channels, seed=1)


def tiff(pixels, **options):
    """The TIFF file that tifffile writes."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def by_pillow(contents, channels, background=255):
    """What Pillow shows, upright, over a background: uint8 `(H, W, channels)`."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(contents)))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (background,) * 3 + (255,))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


@functools.cache
def files():
    """The bytes of a file of each kind by what it is called, such as `PNG gray`."""
    colours, gray = drawn(*SIZE), drawn(*SIZE, 1)
    found = {}
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        for mode, image in MODES.items():
            if form == "JPEG" and mode not in ("gray", "RGB") or (form, mode) == ("BMP", "gray with alpha"):
                continue
            found[f"{form} {mode}"] = encoded(image, form, **({"lossless": True} if form == "WEBP" else {}))
    for noted in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = noted
        found[f"JPEG turned {noted}"] = encoded(MODES["RGB"], "JPEG", exif=exif, subsampling=0)
        found[f"PNG turned {noted}"] = encoded(MODES["RGB"], "PNG", exif=exif)
        found[f"WEBP turned {noted}"] = encoded(MODES["RGB"], "WEBP", exif=exif, lossless=True)
        found[f"TIFF turned {noted}"] = encoded(MODES["RGB"], "TIFF", tiffinfo={274: noted})
    found |= {
        "JPEG CMYK": encoded(CMYK, "JPEG"),
        "JPEG CMYK without the mark": encoded(CMYK, "JPEG").replace(b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5), b""),
        "JPEG progressive": encoded(MODES["RGB"], "JPEG", progressive=True),
        "PNG palette of 2 bits": encoded(as_image(colours).quantize(3), "PNG", bits=2),
        "PNG palette of 4 bits": encoded(as_image(colours).quantize(13), "PNG", bits=4),
        "PNG palette with alpha": encoded(MODES["palette"], "PNG", transparency=bytes(range(0, 230, 10))),
        "PNG transparent index": encoded(MODES["palette"], "PNG", transparency=3),
        "PNG transparent gray": encoded(as_image(gray), "PNG", transparency=int(gray[3, 4, 0])),
        "PNG transparent colour": encoded(as_image(colours), "PNG", transparency=tuple(colours[3, 4].tolist())),
        "PNG 16 bits": encoded(Image.fromarray(levels16(1)[..., 0]), "PNG"),
        "PNG animated": _animated("PNG", 3),
        "GIF transparent": encoded(MODES["palette"], "GIF", transparency=3),
        "GIF interlaced": encoded(MODES["palette"], "GIF", interlace=1),
        "GIF animated": _animated("GIF", 3),
        "GIF animated, transparent": _animated("GIF", 4),
        "GIF smaller than its screen": _small_frame(),
        "GIF with indices of no colour": _short_palette(),
        "BMP from the top": _from_the_top(encoded(MODES["RGB"], "BMP")),
        "BMP 16 bits": bmp(16, drawn(*SIZE, 2)),
        "BMP 5, 6 and 5 bits": bmp(16, drawn(*SIZE, 2), (0xF800, 0x7E0, 0x1F, 0)),
        "BMP 32 bits": bmp(32, drawn(*SIZE, 4)),
        "BMP 32 bits with alpha": bmp(32, drawn(*SIZE, 4), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        "BMP 32 bits, red first": bmp(32, drawn(*SIZE, 4), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        "BMP 16 colours": bmp(4, drawn(*SIZE, 1)),
        "WEBP animated": _animated("WEBP", 3, lossless=True),
        "WEBP animated, with alpha": _animated("WEBP", 4, lossless=True),
        "WEBP lossy": encoded(MODES["RGB"], "WEBP", quality=70),
        "WEBP lossy with alpha": encoded(MODES["RGBA"], "WEBP", quality=70),
    }
    for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"):
        for mode, image in {**MODES, "CMYK": CMYK, "16 bits": Image.fromarray(levels16(1)[..., 0])}.items():
            found[f"TIFF {mode}, {compression}"] = encoded(image, "TIFF", compression=compression)
    for mode in ("gray", "RGB"):
        found[f"TIFF {mode}, jpeg"] = encoded(MODES[mode], "TIFF", compression="jpeg")
    return found | _by_tifffile()


def _by_tifffile():
    gray, colours, four = drawn(*SIZE, 1)[..., 0], drawn(*SIZE), drawn(*SIZE, 4)
    colour_map = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype("uint16")
    found = {
        "white is 0": tiff(gray, photometric="miniswhite"),
        "1 bit": tiff(gray > 128, photometric="minisblack"),
        "1 bit, white is 0": tiff(gray > 128, photometric="miniswhite"),
        "2 bits": tiff(gray >> 6, photometric="minisblack", bitspersample=2),
        "4 bits": tiff(gray >> 4, photometric="minisblack", bitspersample=4),
        "palette": tiff(gray, photometric="palette", colormap=colour_map),
        "CMYK": tiff(four, photometric="separated"),
        "CMYK of 16 bits": tiff(levels16(4), photometric="separated"),
        "16 bits, big end first": tiff(levels16(1)[..., 0], photometric="minisblack", byteorder=">"),
        "differences, big end first": tiff(
            levels16(3), photometric="rgb", byteorder=">", compression="lzw", predictor=2
        ),
        "BigTIFF": tiff(colours, photometric="rgb", bigtiff=True),
        "several pages": tiff(drawn(*SIZE, 3).transpose(2, 0, 1), photometric="minisblack"),
        "JPEG, coarse colours": tiff(colours, photometric="ycbcr", compression="jpeg", subsampling=(2, 2)),
        "JPEG tiles": tiff(drawn(70, 50), photometric="ycbcr", compression="jpeg", tile=(32, 32)),
        "JPEG of RGB": tiff(drawn(70, 50), photometric="rgb", compression="jpeg", tile=(16, 16)),
    }
    for pixels, bits in ((drawn(*SIZE), 8), (levels16(3), 16), (four, 8), (levels16(4), 16)):
        for planar in ("contig", "separate"):
            if bits == 16 and planar == "separate":
                continue  # Pillow takes both bytes of each for one: `test_tiff` compares with tifffile
            form = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if planar == "separate" else pixels
            for extra in ["unassalpha", "assocalpha", "unspecified"] if pixels.shape[-1] == 4 else [None]:
                if planar == "separate" and extra in ("assocalpha", "unspecified"):
                    continue  # Pillow refuses them
                options = {"photometric": "rgb", "planarconfig": planar, "extrasamples": [extra] if extra else None}
                name = f"{bits} bits, {planar}, {extra}"
                found[name] = tiff(form, rowsperstrip=5, **options)
                found[f"{name}, tiles"] = tiff(form, tile=(16, 16), **options)
                for compression in ("lzw", "zlib", "packbits"):
                    found[f"{name}, {compression}"] = tiff(form, compression=compression, **options)
                found[f"{name}, lzw in strips"] = tiff(form, compression="lzw", rowsperstrip=5, **options)
    return {f"TIFF by tifffile: {name}": contents for name, contents in found.items()}


def bmp(bits, pixels, masks=None):
    """A BMP of these rows' bytes, from the bottom to the top; of 4 bits with a palette."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, -1)[:, : -(-width * bits // 8)]
    rows = np.pad(rows, [(0, 0), (0, -rows.shape[1] % 4)]).tobytes()
    behind = np.array(masks, "<u4").tobytes() if masks else b""
    if bits == 4:
        behind = drawn(4, 4, 4).tobytes()
    header = np.array([108 if masks else 40, width, height, 1 | bits << 16, 3 if masks else 0, 0, 0, 0, 0, 0], "<u4")
    header = header.tobytes() + behind
    header += bytes(108 - len(header)) if masks else b""
    offset = 14 + len(header)
    return b"BM" + np.array([offset + len(rows), 0, offset], "<u4").tobytes() + header + rows


def _animated(form, channels, **options):
    frames = [as_image(drawn(*SIZE, channels, seed=seed)) for seed in range(3)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


def _from_the_top(contents):
    height = int.from_bytes(contents[22:26], "little")
    return contents[:22] + (-height).to_bytes(4, "little", signed=True) + contents[26:]


def _small_frame():
    whole = encoded(MODES["palette"], "GIF")
    return whole[:6] + (50).to_bytes(2, "little") + (40).to_bytes(2, "little") + whole[10:]


def _short_palette():
    """A palette of 16 colours for indices to 22."""
    whole = encoded(MODES["palette"], "GIF")
    colours = 3 * 32
    return whole[:10] + bytes([whole[10] & ~7 | 3]) + whole[11 : 13 + colours // 2] + whole[13 + colours :]

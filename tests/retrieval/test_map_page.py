"""The page of a map in a headless Chromium, on a desktop and on a phone, as a user points, types and taps."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import embedding_map
from keras_mae.retrieval import open_vectors, write_vectors
from keras_mae.retrieval.map import write_map
from tests.chromium import Chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]
COUNT, CLASSES, K = 40, ("cats & dogs", "<b>fish</b>", "birds"), 5
NASTY = {3: "<img src=x onerror=alert(1)>.png", 4: "a</script><script>throw 1</script>.png", 5: 'it\'s "ünï" 図.png'}
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
NAMES = [NASTY.get(number, f"folder/image {number:02}.png") for number in range(COUNT)]
LABELS = np.arange(COUNT) % 3


def vectors_at(path, vectors, labels=LABELS, names=NAMES, classes=CLASSES, header=None):
    """A file of vectors, opened."""
    header = {"class_names": classes, **(header or {"data": "npz:/nowhere.npz", "image_shape": [8, 8, 3]})}
    write_vectors(str(path), list(names), np.arange(len(vectors)), labels, vectors, header)
    return open_vectors(str(path))


def colour_of(number):
    """Every image has one colour of its own."""
    return np.array([6 * number, 255 - 5 * number, 40 * (number % 7)])


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3, 8))[LABELS] * 2 + rng.normal(size=(COUNT, 8))).astype("float32")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, vectors):
    folder = tmp_path_factory.mktemp("map")
    images = np.stack([np.broadcast_to(colour_of(number), (16, 16, 3)) for number in range(COUNT)]).astype("uint8")
    np.savez(folder / "images.npz", images=images)
    header = {"data": f"npz:{folder}/images.npz", "image_shape": [16, 16, 3]}
    write_map(vectors_at(folder / "v.npz", vectors, header=header), str(folder / "map.html"), k=K, num_clusters=4)
    return folder / "map.html"


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


def opened(browser, path, size="desktop", **more):
    page = browser.open(path, *SIZES[size], **more)
    page.until("document.body.dataset.ready && document.getElementById('map').dataset.drawn")
    return page


@pytest.fixture(scope="module", params=SIZES)
def page(request, browser, page_file):
    """One page for all tests of a size, each of which leaves it as it was: silent, and without a request."""
    page = opened(browser, page_file, request.param)
    yield page
    assert page.errors == [] and page.requests == []


def settle(page):
    """Waits until what has changed is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def box_of(page, selector):
    """`(x, y, width, height)` in CSS pixels."""
    found = f"const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
    return page.evaluate(f"(() => {{ {found}; return [b.x, b.y, b.width, b.height] }})()")


def places_of(page, vectors):
    """Where the page has to draw the points, from a singular value decomposition: `(N, 2)` in CSS pixels."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = (units - units.mean(axis=0)).astype("float64")
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign([axis[np.abs(axis).argmax()] for axis in axes[:2]])[:, None]
    points = centred @ axes.T * [1, -1]
    x, y, width, height = box_of(page, "#map")
    low, high = points.min(axis=0), points.max(axis=0)
    scale = min((width - 64) / (high - low)[0], (height - 64) / (high - low)[1])
    return (points - (low + high) / 2) * scale + [x + width / 2, y + height / 2]


def alone(places, apart=14):
    """The points that have no other one nearby."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    return np.flatnonzero(distances.min(axis=1) > apart)


def picture_of(page):
    """What is visible, uint8 `(height, width, 3)`."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def colours_drawn(page):
    """How many pixels of the map have each colour."""
    x, y, width, height = map(round, box_of(page, "#map"))
    pixels = picture_of(page)[y : y + height, x : x + width].astype(int)
    colours, counts = np.unique(pixels @ [1, 256, 65536], return_counts=True)
    return {(v & 255, v >> 8 & 255, v >> 16): count for v, count in zip(colours.tolist(), counts, strict=True)}


FIRST = {"cats & dogs": (63, 144, 218), "<b>fish</b>": (255, 169, 14), "birds": (189, 31, 1)}  # of the palette


def test_every_point_is_drawn_where_its_vector_is(page, vectors):
    assert page.evaluate("document.title") == "Map of 40 images of images.npz"
    assert page.evaluate("Number(document.getElementById('map').dataset.drawn)") == COUNT
    places, picture = places_of(page, vectors), picture_of(page)
    for number in alone(places, 8):
        x, y = np.round(places[number]).astype(int)
        assert tuple(picture[y, x]) == FIRST[CLASSES[LABELS[number]]], number


def shown_colour(page, selector):
    """The colour in the middle of a picture that the page shows."""
    return page.evaluate(
        f"(async () => {{ const i = document.querySelector({json.dumps(selector)}); await i.decode();"
        "const c = document.createElement('canvas'); c.width = c.height = 9; const g = c.getContext('2d');"
        "g.drawImage(i, 0, 0, 9, 9); return [...g.getImageData(4, 4, 1, 1).data].slice(0, 3) })()"
    )


def test_a_point_shows_its_image_under_the_mouse(page, vectors):
    if page.phone:
        return
    places = places_of(page, vectors)
    numbers = [3, 4, 5, *alone(places)[-3:]]
    for number in filter(alone(places).__contains__, numbers):
        page.mouse("mouseMoved", *places[number])
        assert page.text("#tip").split("\n") == [NAMES[number], f"label: {CLASSES[LABELS[number]]}"]
        assert np.abs(shown_colour(page, "#tip img") - colour_of(number)).max() <= 12  # what JPEG does to a colour
        x, y, width, height = box_of(page, "#tip")
        left, top, across, down = box_of(page, "#map")
        assert x >= left and y >= top and x + width <= left + across and y + height <= top + down
    page.mouse("mouseMoved", 5, 5)
    assert page.evaluate("document.getElementById('tip').hidden")
    assert page.evaluate("document.querySelectorAll('[src=x]').length") == 0  # no name became an element


def test_a_click_shows_the_nearest_by_all_dimensions_and_escape_closes(page, vectors):
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float64")
    places = places_of(page, vectors)
    for number in alone(places, 24)[:2]:
        page.click(*places[number])
        assert page.evaluate("!document.getElementById('panel').hidden")
        assert page.text("#chosen .name") == NAMES[number]
        assert np.abs(shown_colour(page, "#chosen img") - colour_of(number)).max() <= 12
        cosines = units @ units[number]
        expected = [other for other in np.argsort(-cosines) if other != number][:K]
        listed = page.evaluate("[...document.querySelectorAll('#nearest button')].map(b => b.textContent)")
        wanted = [f"{NAMES[other]}{cosines[other]:.4f}, label: {CLASSES[LABELS[other]]}" for other in expected]
        assert listed == wanted
        assert np.abs(shown_colour(page, "#nearest li:nth-child(2) img") - colour_of(expected[1])).max() <= 12
        page.click_on("#nearest li:nth-child(1) button")
        assert page.text("#chosen .name") == NAMES[expected[0]]
        page.key("Escape")
        assert page.evaluate("document.getElementById('panel').hidden && document.activeElement.id == 'map'")
        settle(page)  # on a phone the map has its whole height again


def test_a_search_marks_names_and_enter_goes_from_one_to_the_next(page):
    page.evaluate("document.getElementById('query').focus()")
    page.type("IMAGE 1")
    assert page.text("#found") == "10 of 40 names; Enter goes to the first"
    settle(page)
    assert (214, 218, 224) in colours_drawn(page)  # the others are faint
    for number in (10, 11):
        page.key("Enter")
        assert page.text("#chosen .name") == f"folder/image {number}.png"
    page.key("Escape")
    page.click_on("#legend li:nth-child(3) button")  # birds
    assert page.text("#found") == "3 of 40 names, of label birds; Enter goes to the first"
    page.evaluate("document.getElementById('query').focus()")
    for number in (11, 14, 17, 11):
        page.key("Enter")
        assert page.text("#chosen .name") == f"folder/image {number}.png"
    for _ in ("panel", "search", "class"):
        page.key("Escape")
    assert page.evaluate("document.getElementById('query').value") == ""
    page.evaluate("document.getElementById('query').focus()")
    page.type("no such name")
    page.key("Enter")
    assert page.text("#found") == "0 of 40 names" and page.evaluate("document.getElementById('panel').hidden")
    page.key("Escape")
    settle(page)
    assert (214, 218, 224) not in colours_drawn(page)


def test_the_legend_names_the_classes_and_shows_one_alone(page):
    legend = "[...document.querySelectorAll('#legend button')].map(b => b.innerText.split('\\n'))"
    assert page.evaluate(legend) == [[name, str(np.sum(LABELS == n))] for n, name in enumerate(CLASSES)]
    settle(page)
    assert set(FIRST.values()) <= set(colours_drawn(page))
    page.click_on("#legend li:nth-child(2) button")
    settle(page)
    drawn = colours_drawn(page)
    assert FIRST["<b>fish</b>"] in drawn and not {FIRST["birds"], FIRST["cats & dogs"]} & set(drawn)
    assert page.evaluate("document.querySelectorAll('#legend [aria-pressed=true]').length") == 1
    page.key("Escape")
    settle(page)
    assert set(FIRST.values()) <= set(colours_drawn(page))


def choose_colour(page, number):
    script = f"const s = document.getElementById('colour'); s.value = {number}; s.onchange()"
    page.evaluate(f"(() => {{ {script} }})()")


def test_clusters_colour_the_map_too(page):
    options = "[...document.getElementById('colour').options].map(o => o.text)"
    assert page.evaluate(options) == ["label", "cluster"]
    choose_colour(page, 1)
    legend = page.evaluate("[...document.querySelectorAll('#legend button')].map(b => b.innerText.split('\\n'))")
    sizes = [int(size) for _, size in legend]
    assert [name for name, _ in legend] == ["1", "2", "3", "4"] and sum(sizes) == COUNT
    assert sizes == sorted(sizes, reverse=True)
    choose_colour(page, 0)


def test_wheel_fingers_drag_and_keys_move_the_map_and_0_shows_it_all(page, vectors):
    def drawn():
        settle(page)
        return page.evaluate("Number(document.getElementById('map').dataset.drawn)")

    x, y = page.middle("#map")
    for name in ("+", "+", "+", "+"):
        page.evaluate("document.getElementById('map').focus()")
        page.key(name)
    assert 0 <= drawn() < COUNT
    page.key("0")
    assert drawn() == COUNT
    if page.phone:
        page.touch("touchStart", (x - 20, y), (x + 20, y))
        for step in range(1, 8):
            page.touch("touchMove", (x - 20 - 20 * step, y), (x + 20 + 20 * step, y))
        page.touch("touchEnd")
    else:
        for _ in range(6):
            page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120)
    assert 0 <= drawn() < COUNT
    page.click_on("#zoom button:last-child")
    assert drawn() == COUNT and page.evaluate("document.getElementById('panel').hidden")
    if not page.phone:
        places = places_of(page, vectors)
        number = alone(places)[0]
        page.mouse("mousePressed", x, y, button="left", buttons=1)
        page.mouse("mouseMoved", x + 30, y - 40, button="left", buttons=1)
        page.mouse("mouseReleased", x + 30, y - 40, button="left")
        page.mouse("mouseMoved", *(places[number] + [30, -40]))
        assert page.text("#tip").startswith(NAMES[number])
        assert page.evaluate("document.getElementById('panel').hidden")  # a drag is no click
        page.key("0")


def test_the_page_fits_its_width_and_its_parts_have_names(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    unnamed = "[...document.querySelectorAll('button, input, select, canvas')].filter(e => !(e.innerText || "
    unnamed += "e.getAttribute('aria-label') || e.labels?.length)).length"
    assert page.evaluate(unnamed) == 0 and page.evaluate("document.documentElement.lang") == "en"


def test_a_name_after_the_address_opens_the_page_at_its_image_in_the_dark(browser, page_file):
    address = page_file.as_uri() + "#folder/image%2012.png"
    page = opened(browser, address.replace("folder/image", "folder%2Fimage"), dark=True)
    assert page.text("#chosen .name") == "folder/image 12.png"
    drawn = colours_drawn(page)
    assert max(drawn, key=drawn.get) == (20, 23, 28) and page.errors == []


def test_nothing_is_loaded_and_no_other_script_runs(browser, page_file):
    page = opened(browser, page_file)
    asked = "fetch('http://127.0.0.1:9999/').then(() => 'loaded', () => 'refused')"
    assert page.evaluate(asked) == "refused"
    page.evaluate("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
                  "document.body.append(s) })()")  # fmt: skip
    assert page.evaluate("window.ran") is None
    assert all("Content Security Policy" in str(said) or "ERR_" in str(said) for said in page.errors)


CASES = {
    "three points": (np.eye(3), [0, 1, 2]),
    "one point": (np.ones((1, 4)), [0]),
    "equal points": (np.ones((6, 4)), [0, 1, 2] * 2),
    "two points": (np.eye(2), [0, 0]),
    "no labels": (np.eye(5), None),
    "no label of some": (np.eye(5), [0, -1, 1, -1, 0]),
    "one dimension": (np.array([[1.0], [-2.0], [3.0]]), [0, 1, 1]),
    "many classes": (np.random.default_rng(1).normal(size=(64, 4)), np.arange(64)),
}


@pytest.mark.parametrize("case", CASES)
def test_maps_of_few_points_or_many_classes_without_their_images(browser, tmp_path, case):
    vectors, labels = CASES[case]
    names = [f"image {number}" for number in range(len(vectors))]
    classes = tuple(map(str, range(64))) if case == "many classes" else CLASSES
    labels = None if labels is None else np.array(labels)
    facts = write_map(
        vectors_at(tmp_path / "v.parquet", vectors.astype("float32"), labels, names, classes), f"{tmp_path}/map.html"
    )
    assert facts.notes == ("The images were not there when this map was made, so it shows their names alone.",)
    page = opened(browser, tmp_path / "map.html")
    assert page.evaluate("Number(document.getElementById('map').dataset.drawn)") == len(vectors)
    assert page.text("#notes") == facts.notes[0]
    legend = page.evaluate("[...document.querySelectorAll('#legend .name')].map(e => e.innerText)")
    given = [] if labels is None else [classes[label] for label in np.unique(labels[labels >= 0])]
    assert legend[: len(given)] == given and ("no label" in legend) == (case == "no label of some")
    page.evaluate("document.getElementById('query').focus()")
    page.type("image 0")
    page.key("Enter")
    assert page.text("#chosen .name") == "image 0" and page.text("#chosen .picture") == "no picture"
    assert page.evaluate("document.querySelectorAll('#nearest li').length") == min(12, len(vectors) - 1)
    looks = "new Set([...document.querySelectorAll('#legend .swatch')].map(e => e.className + e.style.background)).size"
    assert page.evaluate(looks) == min(len(legend), 30)  # ten colours in three shapes
    assert page.errors == [] and page.requests == []


@pytest.mark.slow
def test_a_hundred_thousand_points_stay_usable():
    """Of the time between frames, which other processes lengthen, the benchmark tells more."""
    found = embedding_map.result(100_000, 64)
    assert found["megabytes"] < 40 and found["thumbnails"] > 5000
    for size in SIZES:
        assert found[size]["drawn"] == 100_000 and found[size]["errors"] == 0
        assert found[size]["processor_ms_to_draw"] < 50, found
        assert found[size]["pointing"]["median_ms"] < 100, found

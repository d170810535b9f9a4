"""Who may write to a run folder, and what is in its files."""

import json
import os
import zipfile

import pytest

from keras_mae.data import ArraySource, FolderSource
from keras_mae.data.seen import Seen
from keras_mae.trainers import run
from keras_mae.trainers.config import PretrainConfig, to_json
from keras_mae.trainers.settings import replaced
from tests.base import fill_randomly, random_images, small_encoder
from tests.drawn import write_pictures

CONFIG = replaced(PretrainConfig(), epochs=3, image_size=(16, 20), crop_scale=None)


def start(path, config=CONFIG, data="digits", resume=False, overwrite=False, seen=None, loaded=None):
    folder = run.RunFolder(str(path))
    folder.start(config, data, resume, overwrite, seen, loaded)
    return folder


@pytest.fixture
def taken(tmp_path):
    """A folder that holds a run, with every file and folder that a run may have, and two of somebody else's."""
    folder = start(tmp_path / "taken")
    for name in ("log.jsonl", "results.json", "model.keras", "encoder.keras", "reconstructions.png", "loss.png"):
        (tmp_path / "taken" / name).write_text("of the run")
    for name in ("checkpoints", "tensorboard", "reconstructions", "saved_model/1"):
        (tmp_path / "taken" / name).mkdir(parents=True)
        (tmp_path / "taken" / name / "file").write_text("of the run")
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "taken" / "mine").mkdir()
    return folder


def test_a_new_folder_an_empty_one_and_one_in_new_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "some/where/else"):
        folder = start(tmp_path / name)
        assert os.listdir(folder.path) == ["config.json"]
        assert folder.config() == (CONFIG, "digits")
    record = json.loads((tmp_path / "new" / "config.json").read_text())
    assert [set(one) for one in record.pop("machine")] == [{"system", "processor", "cores", "memory", "gpus"}]
    assert [set(one) for one in record.pop("versions")] == [{"keras_mae", "Python", "TensorFlow", "Keras", "NumPy"}]
    assert record == {"data": "digits", "directory": os.getcwd(), "config": json.loads(json.dumps(to_json(CONFIG)))}


def test_a_folder_with_another_run_is_refused(taken):
    with pytest.raises(ValueError, match="taken holds another run; continue it with --resume, discard it with --overw"):
        start(taken.path)
    assert os.path.exists(taken / "model.keras")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_something_else_is_refused(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is not a run; name another"):
        start(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="the output .*file is a file; name a folder"):
        start(tmp_path / "file")


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(taken):
    other = replaced(CONFIG, epochs=4)
    start(taken.path, other, overwrite=True)
    assert sorted(os.listdir(taken.path)) == ["config.json", "mine", "notes.txt"]
    assert taken.config() == (other, "digits")


def test_overwrite_of_nothing_is_a_new_run(tmp_path):
    assert start(tmp_path / "new", overwrite=True).config() == (CONFIG, "digits")


def test_resume_keeps_everything(taken):
    before = {name: os.stat(taken / name).st_mtime_ns for name in os.listdir(taken.path)}
    start(taken.path, resume=True)
    assert {name: os.stat(taken / name).st_mtime_ns for name in os.listdir(taken.path)} == before


@pytest.mark.parametrize("name", ["encoder.keras", "tokenizer/variables/data"])
def test_resume_with_another_loaded_model_is_refused(tmp_path, name):
    """A SavedModel is a folder, a tokenizer for instance; features of two encoders would be mixed up in a probe."""
    (tmp_path / "tokenizer" / "variables").mkdir(parents=True)
    (tmp_path / name).write_bytes(b"weights")
    loaded = str(tmp_path / name.partition("/")[0])
    folder = start(tmp_path / "run", loaded=loaded)
    start(folder.path, resume=True, loaded=loaded)
    (tmp_path / name).write_bytes(b"others!")
    with pytest.raises(ValueError, match=r"is another model than the one that the run in .*run was made from"):
        start(folder.path, resume=True, loaded=loaded)
    start(folder.path, overwrite=True, loaded=loaded)
    start(folder.path, resume=True, loaded=loaded)


def test_a_model_that_is_saved_again_is_the_same(tmp_path):
    """A finished run that is resumed writes its model again, with another date."""
    encoder, digests = small_encoder(), []
    for number, date in enumerate(("2026-01-01@00:00:00", "2027-02-02@11:11:11", "2027-02-02@11:11:11")):
        if number == 2:
            fill_randomly(encoder, seed=7)
        path = str(tmp_path / f"{number}.keras")
        encoder.save(path)
        with zipfile.ZipFile(path) as archive:
            members = {one: archive.read(one) for one in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in {**members, "metadata.json": json.dumps({"date_saved": date})}.items():
                archive.writestr(name, text)
        digests.append(run.digest_of(path))
    assert digests[0] == digests[1] != digests[2]


def test_resume_with_another_config_shows_the_differences(taken):
    other = replaced(CONFIG, epochs=5, image_size=(16, 24))
    message = (
        r"the run in .*taken has another config, and cannot be resumed: data: 'digits' there, 'npz:x' now; "
        r"encoder.image_size: \(16, 20\) there, \(16, 24\) now; optimizer.epochs: 3 there, 5 now$"
    )
    with pytest.raises(ValueError, match=message):
        start(taken.path, other, data="npz:x", resume=True)
    assert taken.config() == (CONFIG, "digits")


def test_resume_with_settings_that_do_not_matter(taken, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    for settings, message in (
        ({"pictures_every": 7}, "resumed with other settings: run.pictures_every: 20 there, 7 now"),
        (
            {"pictures_every": 7, "accumulation_steps": 4},
            "resumed with other settings (results may differ by round-off): optimizer.accumulation_steps: 1 there, "
            "4 now",
        ),
    ):
        other = replaced(CONFIG, **settings)
        start(taken.path, other, resume=True)
        assert taken.config() == (other, "digits")
        assert caplog.records[-1].message == message
    with pytest.raises(ValueError, match=r"cannot be resumed: optimizer.warmup_epochs: 40.0 there, 10.0 now$"):
        start(taken.path, replaced(CONFIG, warmup_epochs=10.0, checkpoint_steps=10), resume=True)


def test_resume_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not the folder of a run: it holds no config.json"):
        start(tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_resume_and_overwrite(taken):
    with pytest.raises(ValueError, match="--resume continues .*, --overwrite discards it: give one of them"):
        start(taken.path, resume=True, overwrite=True)
    assert os.path.exists(taken / "model.keras")


def test_model_of_an_unfinished_run(tmp_path):
    folder = start(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"run holds no encoder.keras: the run has not finished; continue it with --res"
    ):
        folder.model_path(run.ENCODER)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(taken):
    def write(path):
        with open(path, "w") as file:
            file.write("half of the n")
        raise OSError("the disk is full")

    before = sorted(os.listdir(taken.path))
    with pytest.raises(OSError, match="the disk is full"):
        taken.replace("results.json", write)
    assert sorted(os.listdir(taken.path)) == before
    with open(taken / "results.json") as file:
        assert file.read() == "of the run"


def test_what_a_killed_run_was_writing_goes_when_the_file_is_written_again(taken):
    left, mine = "results.writing-0123abcd.json", "results.mine.json"
    for name in (left, mine):
        with open(taken / name, "w") as file:
            file.write("half of")
    taken.write_json("results.json", {"top1": 0.5})
    assert not os.path.exists(taken / left) and os.path.exists(taken / mine)
    with open(taken / "results.json") as file:
        assert json.load(file) == {"top1": 0.5}


def test_what_a_run_saw_stays_when_it_is_resumed(tmp_path):
    images = random_images(20, (4, 4, 1))
    seen = Seen(ArraySource(images))
    folder = start(tmp_path / "run", seen=seen)
    assert folder.seen() == seen.summary and folder.config() == (CONFIG, "digits")
    start(tmp_path / "run", replaced(CONFIG, pictures_every=7), resume=True, seen=seen)
    assert folder.seen() == seen.summary
    message = "have changed, and it cannot be resumed: 1 image was removed: image [0-9a-f]*; put the data back"
    with pytest.raises(ValueError, match=message):
        start(tmp_path / "run", resume=True, seen=Seen(ArraySource(images[1:])))


@pytest.mark.parametrize("path", ["gs://bucket/run", "ram://run"])
def test_a_run_is_on_a_local_disk(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"a run lies in a folder of a local disk, got {path}; name one, and copy it"):
        start(path)
    assert not os.listdir(tmp_path)


def test_a_resume_with_other_data_says_which_images_were_added_removed_and_relabelled(tmp_path):
    folder = str(tmp_path / "pictures")
    for name in "ab":
        write_pictures(os.path.join(folder, name), 4, size=(5, 6))
    os.rename(f"{folder}/a/000.png", f"{folder}/a/moved.png")
    start(tmp_path / "run", seen=Seen(FolderSource(folder)))
    start(tmp_path / "run", resume=True, seen=Seen(FolderSource(folder)))
    os.rename(f"{folder}/a/moved.png", f"{folder}/b/moved.png")
    os.rename(f"{folder}/a/001.png", f"{folder}/a/new.png")
    os.remove(f"{folder}/b/003.png")
    message = (
        "have changed, and it cannot be resumed: 1 image was added: a/new.png; 2 images were removed: a/001.png, "
        r"b/003.png; 1 image was relabelled: b/moved.png \(a to b\); put the data back as they were, or begin a new run"
    )
    with pytest.raises(ValueError, match=message):
        start(tmp_path / "run", resume=True, seen=Seen(FolderSource(folder)))
    os.remove(tmp_path / "run" / "seen.gz")  # of a run of an earlier version
    with pytest.raises(ValueError, match="resumed: there were 8 images to train on, and there are 7; put"):
        start(tmp_path / "run", resume=True, seen=Seen(FolderSource(folder)))
    assert "seen.gz" in os.listdir(start(tmp_path / "run", overwrite=True, seen=Seen(FolderSource(folder))).path)

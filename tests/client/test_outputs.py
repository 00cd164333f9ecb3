"""The forms of output, and how a run goes on where an earlier one ended."""

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from client.errors import ClientError, UsageError
from client.outputs.journal import JsonJournal
from client.outputs.output import Format
from tests.client.conftest import Caption, records
from tests.client.fake_server import FakeServer

FILES = ("out.jsonl", "out.csv", "out.parquet")


def captions(path: Path) -> dict[str, str | None]:
    """The caption of each image; an image with two records fails."""
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = list(records(path).values())
    found = {row["image"]: row.get("caption") or None for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_all_captions(name: str, caption: Caption, images: Path, tmp_path: Path) -> None:
    """JSONL, CSV and Parquet have the same captions, and line breaks and quotes survive."""
    (images / "a.png").write_text('one\n"two", three')
    caption("photos", output=tmp_path / name)
    assert captions(tmp_path / name) == {
        "photos/a.png": 'of one\n"two", three',
        "photos/b.JPG": "of b",
        "photos/deep/c.webp": "of deep/c",
    }


@pytest.mark.parametrize("name", FILES)
def test_a_second_run_captions_what_is_new(
    name: str, caption: Caption, fake: FakeServer, images: Path, tmp_path: Path
) -> None:
    """What has a caption is not sent again."""
    caption("photos/deep", output=tmp_path / name)
    totals = caption("photos", output=tmp_path / name)
    assert (totals.captioned, totals.skipped) == (2, 1)
    assert sorted(fake.images) == ["a", "b", "deep/c"]
    assert len(captions(tmp_path / name)) == 3


@pytest.mark.parametrize("name", FILES)
def test_a_second_run_tries_failed_images_again(
    name: str, caption: Caption, images: Path, tmp_path: Path
) -> None:
    """An image that failed has one record in the end: its caption."""
    (images / "a.png").write_text("bad")
    caption("photos", output=tmp_path / name)
    assert captions(tmp_path / name)["photos/a.png"] is None
    (images / "a.png").write_text("good")
    caption("photos", output=tmp_path / name)
    assert captions(tmp_path / name)["photos/a.png"] == "of good"


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_run_goes_on_after_any_byte(name: str, caption: Caption, images: Path, tmp_path: Path) -> None:
    """Wherever a kill cut the file off, the next run completes it, and no image has two records."""
    (images / "a.png").write_text('one\n"two"')
    path = tmp_path / name
    caption("photos", output=path)
    whole, expected = path.read_bytes(), captions(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        caption("photos", output=path)
        assert captions(path) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out.jsonl", "shopping list"),
        ("out.jsonl", '{"image": "a.png"}\n'),
        ("out.jsonl", '{"other": 1}\n{"image": "a.png", "caption": "x"}\n'),
        ("out.csv", "name,price\n"),
        ("out.csv", "shopping list"),
    ],
)
def test_another_file_is_not_touched(
    name: str, text: str, caption: Caption, images: Path, tmp_path: Path
) -> None:
    """A file that this command did not write is refused and stays as it is."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="is no output of this command"):
        caption("photos", output=tmp_path / name)
    assert (tmp_path / name).read_text() == text


def test_two_runs_cannot_share_a_file(caption: Caption, images: Path, tmp_path: Path) -> None:
    """A file that another run writes is refused."""
    journal = JsonJournal(tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="is the output of another run"):
        caption("photos", output=tmp_path / "out.jsonl")
    journal.close()


def test_an_interrupted_parquet_run_keeps_its_journal(
    caption: Caption, fake: FakeServer, images: Path, tmp_path: Path
) -> None:
    """A run that ends early leaves a journal, and the next one makes the file of it."""
    fake.refusals = [(401, "invalid_api_key", {})]
    with pytest.raises(ClientError):
        caption("photos", output=tmp_path / "out.parquet", concurrency=1)
    assert not (tmp_path / "out.parquet").exists()
    caption("photos", output=tmp_path / "out.parquet")
    assert len(captions(tmp_path / "out.parquet")) == 3
    assert not (tmp_path / "out.parquet.jsonl").exists()


def test_sidecars_are_next_to_their_images(caption: Caption, images: Path, fake: FakeServer) -> None:
    """With txt, each image gets a text file of its name, and the next run leaves it alone."""
    caption("photos", form=Format.TXT)
    assert (images / "a.txt").read_text() == "of a\n"
    assert (images / "deep" / "c.txt").read_text() == "of deep/c\n"
    assert caption("photos", form=Format.TXT).skipped == 3
    assert len(fake.images) == 3


def test_sidecars_go_below_a_directory(caption: Caption, images: Path, tmp_path: Path) -> None:
    """With a directory as output, the text files are there, and an error has its own until it is fixed."""
    (images / "a.png").write_text("bad")
    (tmp_path / "texts").mkdir()
    caption("photos", output=tmp_path / "texts")
    assert (tmp_path / "texts/photos/deep/c.txt").read_text() == "of deep/c\n"
    error = tmp_path / "texts/photos/a.error.txt"
    assert error.read_text() == "invalid_image: image is damaged\n"
    (images / "a.png").write_text("good")
    caption("photos", output=tmp_path / "texts")
    assert not error.exists()


def test_two_images_cannot_share_a_sidecar(caption: Caption, images: Path) -> None:
    """The second image of a name ends the run instead of taking the first one's text file."""
    (images / "a.gif").write_text("gif")
    with pytest.raises(ClientError, match="has the caption of another image"):
        caption("photos", form=Format.TXT, concurrency=1)


def test_the_table_is_for_reading(
    caption: Caption, images: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without an output, each image is a line on standard output, without control characters."""
    (images / "a.png").write_text("\x1b[31mred\n")
    caption("photos/a.png")
    assert capfdbinary.readouterr().out == b"photos/a.png\tof  [31mred \n"


def test_jsonl_can_be_piped(
    caption: Caption, images: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With --format jsonl and no output, the records go to standard output."""
    caption("photos/a.png", form=Format.JSONL)
    assert json.loads(capfdbinary.readouterr().out)["caption"] == "of a"


@pytest.mark.parametrize(
    ("output", "form"),
    [("out.xml", None), (None, Format.PARQUET), ("out.txt", Format.TABLE), ("s3://bucket/out.csv", None)],
)
def test_an_output_that_makes_no_sense_is_refused(
    output: str | None, form: Format | None, caption: Caption, images: Path
) -> None:
    """An output of an unknown form is refused before anything is sent."""
    with pytest.raises(UsageError, match=r"output|Parquet"):
        caption("photos", output=output and Path(output), form=form)

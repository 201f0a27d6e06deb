"""Pictures that are written: whole or not at all, and what lay there before is told."""

import pytest


@pytest.fixture
def sample(run, finished):
    def sample(*options: str) -> tuple[int, str]:
        return run(f"--workdir={finished[1]}", "--mode=sample", *options)

    return sample


def test_sample__leaves_nothing_half_written_on_a_full_disk(sample, make_disk):
    disk = make_disk("40k")
    out = disk / "faces.png"
    code, text = sample("--seeds=0-63", f"--out={out}")
    assert code == 74
    assert f"{out} cannot be written (No space left on device). Make room there" in text
    assert [*disk.iterdir()] == []
    code, text = sample("--seeds=0", f"--out={out}")  # There is room for one.
    assert code == 0


def test_sample__says_what_else_lies_in_the_folder(sample, tmp_path):
    out = f"--out={tmp_path / 'faces'}"
    _, first = sample("--individual", out, "--seeds=0-1")
    _, same = sample("--individual", out, "--seeds=0-1")
    _, other = sample("--individual", out, "--seeds=5")
    said = "2 pictures were there before and are not of these: seed_0000.png, seed_0001.png"
    assert [said in text for text in (first, same, other)] == [False, False, True]


def test_sample__refuses_a_file_that_cannot_be(sample, tmp_path):
    code, text = sample("--seeds=0", f"--out={tmp_path}")
    assert code == 64
    assert f"--out={tmp_path} cannot be written" in text
    assert [*tmp_path.parent.glob(".*.partial")] == []

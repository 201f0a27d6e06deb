"""Finds the files of labels among one's own pictures, and reads each as a table.

    labels.csv, or any other name       the first column that names pictures
    metadata.csv, metadata.jsonl        Hugging Face's, in the folder of the pictures or of a split
    dataset.json                        StyleGAN's: {"labels": [["00000/img00000000.png", 3], ...]}

Several files are one table where they have the same name in different folders, or differ by the
name of a split alone, as train.csv and test.csv do.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from gan.config import LABELS, Data
from gan.data.files import MAX_TEXT, Folder, read_lines
from gan.data.readers.csv_labels import CsvTable, read_csv
from gan.data.readers.folder.contents import FolderContents, LabelFile
from gan.data.readers.folder.folder_names import get_folders, parse_split
from gan.errors import ConfigError, DataError, first_few, nearest

TABLES = (".csv", ".tsv")
STYLEGAN, METADATA = "dataset.json", "metadata.jsonl"
NOT_READ = ("metadata.parquet",)  # Files of labels by their name that nothing here reads.
OFFICIAL = re.compile(  # Files of labels of CelebA and CelebAMask-HQ, also downloaded twice.
    r"(list_attr_celeba|celebamask-hq-attribute-anno)\W*\d*\W*\.(txt|csv)", re.IGNORECASE
)
HOW_TO_SETTLE = (
    "Name one by --config.data.labels=FILE; --config.data.labels=folders takes sub-folders for "
    "classes, --config.data.labels=none goes on without labels."
)
NAMES = ("file_name", "_file_name")  # Hugging Face's column of pictures, or how it ends.
CLASS, NUMBER = "class", "label_"  # Columns that the labels of StyleGAN become.


def find_label_files(config: Data, found: FolderContents) -> list[LabelFile]:
    """Returns the files of `config.labels`; for "auto", all that lie among the pictures.

    ConfigError if a file is not there, and for several files that are not of one kind. DataError
    for files that are known to hold labels, and are not read here.
    """
    if config.labels != "auto":
        return [find_named_file(config.labels, found)]
    there = [name for name in found.others if is_label_file(name)]
    for name in found.others:
        base = PurePosixPath(name).name
        if OFFICIAL.fullmatch(base) or base.lower() in NOT_READ:
            remedy = "--config.data.source=celeba reads them (or says what is missing)"
            if base.lower() in NOT_READ:
                remedy = "write them to metadata.csv"
            raise DataError(
                f"{found.files.where(name)} holds labels, but source 'folder' does not read them: "
                f"{remedy}; --config.data.labels=FILE names another file, "
                "--config.data.labels=none goes on without labels."
            )
    files = [LabelFile(found.files, name, "/".join(get_folders(name))) for name in there]
    if len(files) < 2 or is_one_name(there):
        return files
    splits = [parse_split(PurePosixPath(name).stem) or find_split_word(name) for name in there]
    of_splits = None not in splits and len(set(splits)) == len(splits)
    if of_splits and len({drop_words(name) for name in there}) == 1:
        return [file._replace(split=x) for file, x in zip(files, splits, strict=True)]
    kind = "CSV files" if all(name.lower().endswith(".csv") for name in there) else "label files"
    raise ConfigError(
        f"config.data.labels is not given, and {found.files.path} holds {len(there)} {kind}: "
        f"{first_few(there)}. {HOW_TO_SETTLE} For example: --config.data.labels={there[0]}."
    )


def is_label_file(name: str) -> bool:
    """Tells by its name whether a file holds labels."""
    base = PurePosixPath(name).name.lower()
    return base in (STYLEGAN, METADATA) or (base.endswith(TABLES) and not OFFICIAL.fullmatch(base))


def is_one_name(names: Sequence[str]) -> bool:
    """Tells whether files in different folders, none of which holds another, have one name."""
    folders = [f"{'/'.join(get_folders(name))}/" for name in names]
    nested = any(a != b and b.startswith(a) for a in folders for b in folders) or "/" in folders
    return len({PurePosixPath(name).name for name in names}) == 1 and not nested


def find_split_word(name: str) -> str | None:
    """Returns the one split in the words of a file's name: "fairface_label_val" is validation."""
    words = re.findall(r"[A-Za-z]+", PurePosixPath(name).stem)
    splits = {split for word in words if (split := parse_split(word))}
    return splits.pop() if len(splits) == 1 else None


def drop_words(name: str) -> str:
    """Returns a file's name without the words that are names of splits."""
    word = lambda match: "" if parse_split(match[0]) else match[0]  # noqa: E731
    return re.sub(r"[A-Za-z]+", word, name)


def find_named_file(labels: str, found: FolderContents) -> LabelFile:
    """Returns the file `config.labels`, on the disk or among the pictures. ConfigError if none."""
    path = Path(labels).expanduser()
    if path.is_file():
        inside = path.absolute().is_relative_to(found.files.path.absolute())
        folder = path.absolute().parent
        folder = folder.relative_to(found.files.path.absolute()).as_posix() if inside else ""
        return LabelFile(Folder(path.parent), path.name, "" if folder == "." else folder)
    if labels in found.others:
        return LabelFile(found.files, labels, "/".join(get_folders(labels)))
    known = [*found.others, *LABELS]
    raise ConfigError(
        f"config.data.labels={labels!r} is no file, nor one within {found.files.path}."
        f"{nearest(labels, known)}"
    )


def read_label_file(file: LabelFile, choose: Callable) -> CsvTable:
    """Reads a file of labels as a table. DataError names the file and what is wrong.

    `choose` returns the column that names the pictures; see `read_csv`.
    """
    name = file.name.lower()
    if name.endswith(".json"):
        return read_dataset_json(file)
    if name.endswith(".jsonl"):
        return read_json_lines(file, choose)
    return read_csv(file.files, file.name, choose)


def read_json_lines(file: LabelFile, choose: Callable) -> CsvTable:
    """Reads an object a line, of which one field names the picture. DataError names the line."""
    rows, lines = [], []
    for number, line in enumerate(read_lines(file.files, file.name), start=1):
        row = parse_json(line, f"{file.where}, line {number}") if line.strip() else None
        if row is not None and not isinstance(row, dict):
            raise DataError(f"{file.where}, line {number}: {line[:80]!r} is no JSON object.")
        if row is not None:
            rows.append(row)
            lines.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [write_value(row.get(name)) for row in rows] for name in names}
    if not names:
        raise DataError(f"{file.where}: no line names a picture.")
    pictures = columns.pop(choose(columns))
    return CsvTable(file.where, lines, pictures, columns).check_pictures()


def read_dataset_json(file: LabelFile) -> CsvTable:
    """Reads the labels of StyleGAN: a class, or numbers 0 and 1, for each picture.

    Without labels (null), the table has no columns. DataError for anything else.
    """
    document = parse_json(
        file.files.read(file.name, MAX_TEXT).decode("utf-8", "replace"), file.where
    )
    labels = document.get("labels") if isinstance(document, dict) else None
    labels = list(labels.items()) if isinstance(labels, dict) else labels
    if (
        not isinstance(document, dict)
        or "labels" not in document
        or not isinstance(labels or [], list)
    ):
        raise DataError(
            f'{file.where} should hold {{"labels": [["00000/img00000000.png", 3], ...]}}, as '
            "StyleGAN's dataset_tool.py writes it. --config.data.labels=none goes on without."
        )
    labels = labels or []
    for number, entry in enumerate(labels, start=1):
        if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[0], str):
            raise DataError(
                f"{file.where}, label {number}: {json.dumps(entry)[:80]} is no pair of a "
                "picture's name and its label."
            )
    table = CsvTable(
        file.where,
        range(1, len(labels) + 1),
        [name for name, _ in labels],
        read_stylegan_labels(file.where, [label for _, label in labels]),
        unit="label",
    )
    return table.check_pictures()


def read_stylegan_labels(where: str, labels: Sequence[Any]) -> dict[str, list[str]]:
    """Returns columns of labels that are all classes, or all vectors of as many 0 and 1."""
    vectors = [label for label in labels if isinstance(label, list)]
    if not vectors:
        for number, label in enumerate(labels, start=1):
            if isinstance(label, bool) or not isinstance(label, (int, str)) or label == "":
                raise DataError(
                    f"{where}, label {number}: {json.dumps(label)[:80]} is no class (a whole "
                    "number). --config.data.labels=none goes on without labels."
                )
        return {CLASS: [str(label) for label in labels]} if labels else {}
    width = len(vectors[0])
    for number, label in enumerate(labels, start=1):
        if not isinstance(label, list) or len(label) != width:
            raise DataError(f"{where}, label {number}: not {width} numbers, as those before it.")
        if wrong := [x for x in label if isinstance(x, bool) or x not in (0, 1)]:
            raise DataError(
                f"{where}, label {number}: {json.dumps(wrong[0])[:80]} is neither 0 nor 1. Labels "
                "that are measured numbers (a camera, an embedding) cannot be learnt here: "
                "--config.data.labels=none goes on without them."
            )
    if width > 1 and all(sum(label) == 1 for label in labels):
        return {CLASS: [str(label.index(1)) for label in labels]}
    return {f"{NUMBER}{i}": [str(int(label[i])) for label in labels] for i in range(width)}


def parse_json(text: str, where: str) -> Any:
    """Parses JSON. DataError, beginning with `where`, if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: this is not JSON: {str(error)[:200]}.") from None


def write_value(value: Any) -> str:
    """Returns a value of JSON as it would stand in a CSV file."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def choose_metadata_column(columns: Mapping[str, Sequence[str]]) -> str | None:
    """Returns Hugging Face's column of pictures; None if there is none."""
    return next((name for name in columns if name in NAMES or name.endswith(NAMES[1])), None)

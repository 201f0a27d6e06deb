"""Readers of data sets: a module for each layout on disk. This is the contract of such a module.

A new layout needs a file here, say `mine.py`, and a line in `SOURCES` of `gan/data/registry.py`:

    "mine": "readers.mine",

It is then read by `--config.data.source=mine --config.data.path=PATH`. A reader lists, checks and
reads files. It never decodes or resizes, and keeps no copies: `gan.data.prepare` does, once for all
runs. The module has two functions, of which the second may be missing:

    open_source(config: gan.config.Data) -> gan.data.source.Source

gets the settings `--config.data.*`; `path` says where the data set lies, and `on_bad` whether a bad
picture is an error or is left out. Every start calls it, in every process, so it does only what the
fields of `Source` need: list files, read headers, hash small files. It raises `ConfigError` for a
setting that cannot work and `DataError` for files that are missing or damaged; the message says
which file, which line and what to do. `gan.data.files` opens paths, folders and zips so.

    recognise(path: pathlib.Path) -> bool

tells whether this layout lies at `path`, by the names of files. It is called for
`--config.data.source=auto`, and never raises. Without it, the source is chosen by its name only.

A `Source` has

    name             the key in SOURCES
    found            what lies there, in one line for the log
    fingerprint      at least 12 hexadecimal digits that change when a label or a picture changes:
                     a hash of names, sizes and times of files, and of the contents of small ones.
                     Prepared data is kept under it.
    attribute_names  a different name for each column of the labels; () trains unconditionally
    splits           a function for each of "train", "validation" and "test" that returns its
                     `Split`; it is called only if the split is not prepared yet. `hash_splits`
                     makes splits where a data set has none, and `share_splits` the functions where
                     all labels are read at once.
    formats          Pillow's names of the files' formats, such as ("JPEG", "PNG"); () for arrays
    frame            (height, width) of all pictures if they are aligned as CelebA's, else None:
                     then the largest square in the middle is taken
    drawn            True if pictures are drawn at any size, and nothing is read
    groups           names of attributes that exclude each other, a tuple for each group: the values
                     of one column, or all classes; () by default
    doubts           what was guessed about the layout: a `Doubt` each, which the user has to settle
                     before anything is prepared; () by default

A `Split` of n pictures with a attributes has

    attributes       uint8 [n a] of 0 | 1
    identity         int32 [n], a number for each person; -1 where unknown
    names            n names for messages: the file, or the file and the row
    and one of
    read             picture i, from any thread: the bytes of a file, or uint8 [h w c] with 1, 3 or
                     4 channels. Raises DataError for a bad picture.
    stream           all pictures in order, a DataError in the place of a bad one; for layouts in
                     which a single one cannot be read. An exception stops the preparation.
    draw             uint8 [b size size 3] for rows [b] and a size; then `names` may be ()
    left_out         (name, reason) of the pictures that `on_bad="skip"` left out already; else ()

docs/extending.md has a whole reader, of one .npz file.
"""

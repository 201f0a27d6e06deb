"""The extractors that an evaluation uses.

To add one, write a module beside this one with a function `make_extractor`, and add a line to
`EXTRACTORS`:

    def make_extractor(inputs: ExtractorInputs) -> Extractor | None:
        def extract(images):  # uint8 [n h w 3]
            features = images.mean(axis=(1, 2), dtype=np.float32)  # float32 [n d]
            return Extracted(features, np.empty((len(images), 0), np.float32))

        return Extractor("colours", "colours v1", extract)

It gets what there is to make an extractor of, and returns None if that does not suffice. `extract`
must give a picture the same features whichever other pictures come with it, and may be called by
several threads. Whatever else the features depend on belongs in the stamp, "colours v1": features
of stored pictures are kept on disk under it. The name has no "-".

Nothing else is needed: every score of features is computed from these as well ("FD-colours", ...),
for every checkpoint. Rows name the extractors that they were scored with, and compare only with
rows of the same ones: after a change checkpoints are scored anew, and earlier rows remain.
"""

import importlib

from gan.metrics.extractors.extractor import Extractor, ExtractorInputs

EXTRACTORS = {  # The module of this folder that makes each; scores are in this order.
    "attr": "attribute_classifier",
    "inception": "inception",
}


def make_extractors(inputs: ExtractorInputs) -> tuple[Extractor, ...]:
    """Makes every extractor that can be made of `inputs`, in the order of `EXTRACTORS`.

    Raises ConfigError or DataError if one that was asked for cannot be made.
    """
    modules = (
        importlib.import_module(f"gan.metrics.extractors.{name}") for name in EXTRACTORS.values()
    )
    made = (module.make_extractor(inputs) for module in modules)
    return tuple(extractor for extractor in made if extractor)

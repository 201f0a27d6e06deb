"""The extractors that an evaluation uses.

To add one, write a module beside this one with a function `make_extractor(inputs)`, and add a line
to `EXTRACTORS`:

    def make_extractor(inputs: ExtractorInputs) -> Extractor | None:
        def extract(images):  # uint8 [n h w 3]
            features = images.mean(axis=(1, 2), dtype=np.float32)  # float32 [n d]
            return Extracted(features, np.empty((len(images), 0), np.float32))

        return Extractor("colours", "colours v1", extract)

Every score of features is then computed from its features as well ("FD-colours", ...), for all
splits and all checkpoints. A row belongs to the protocol of all extractors that it was scored with:
with another one, checkpoints are scored anew, and earlier rows remain.
"""

from collections.abc import Callable, Mapping

from gan.metrics.extractors import attribute_classifier, inception
from gan.metrics.extractors.extractor import Extractor, ExtractorInputs

# By the beginning of its name. Each gets what there is to make an extractor of, and returns None
# if that does not suffice. `extract` must give each picture the same features whichever pictures
# come with it; whatever else they depend on belongs in the extractor's `stamp`.
EXTRACTORS: Mapping[str, Callable[[ExtractorInputs], Extractor | None]] = {
    "attr": attribute_classifier.make_extractor,
    "inception": inception.make_extractor,
}


def make_extractors(inputs: ExtractorInputs) -> tuple[Extractor, ...]:
    """Makes every extractor that can be made of `inputs`, in the order of `EXTRACTORS`.

    Raises ConfigError or DataError if one that was asked for cannot be made.
    """
    made = (make_extractor(inputs) for make_extractor in EXTRACTORS.values())
    return tuple(extractor for extractor in made if extractor)

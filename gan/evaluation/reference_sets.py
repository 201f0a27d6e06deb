"""Makes the reference sets of an evaluation; runs on the same data share one."""

from collections.abc import Mapping

from gan.data.attributes import AttributeTable
from gan.data.prepare import prepare
from gan.data.source import SPLITS
from gan.data.store import Store, open_store
from gan.errors import ConfigError
from gan.evaluation.options import EvaluationOptions
from gan.metrics.extractors.extractor import Extractor, ExtractorInputs
from gan.metrics.extractors.registry import make_extractors
from gan.metrics.reference_set import ReferenceSet
from gan.runtime.storage import Path
from gan.sampling.open_run import Run


class ReferenceSets:
    """The reference sets made so far: their pictures are read and run through extractors once."""

    def __init__(self, options: EvaluationOptions):
        """Reads nothing yet."""
        self._options = options
        self._stores: dict[str, dict[str, Store]] = {}  # By the configuration of the data.
        self._extractors: dict[Path, tuple[Extractor, ...]] = {}  # By the prepared data's folder.
        self._made: dict[tuple, ReferenceSet] = {}

    def make_for_run(self, run: Run, folder: Path) -> ReferenceSet:
        """The reference set of the data that the run in `folder` was trained on.

        Raises ConfigError where the data has changed since then.
        """
        data = self._options.move_data(run.config).data
        key = repr(data)
        if key not in self._stores:
            # Each byte is compared with its checksum: what is kept of these pictures (features, a
            # classifier) is kept under that checksum.
            self._stores[key] = prepare(data, SPLITS, known=run.table.fingerprint)
        stores = self._stores[key]
        if not run.table.same_data(AttributeTable.from_store(stores["train"])):
            raise ConfigError(
                f"--workdir={folder} was trained on other data than config.data.path holds now: "
                "its scores would not compare. Bring the old files back."
            )
        num = self._options.num_images or run.config.eval_images
        return self.make(stores, num, run.table.names)

    def make(self, stores: Mapping[str, Store], num: int, names: tuple[str, ...]) -> ReferenceSet:
        """The reference set of prepared data: `num` pictures with the attributes `names`.

        The same arguments give the same object.
        """
        key = (stores["train"].path, stores["train"].digest, num, names)
        if key not in self._made:
            self._made[key] = ReferenceSet(
                stores=stores,
                split=self._options.split,
                num=num,
                names=names,
                extractors=self._make_extractors(stores["train"].path.parent),
            )
        return self._made[key]

    def _make_extractors(self, folder: Path) -> tuple[Extractor, ...]:
        """Makes the extractors of the data prepared in `folder`, once.

        The stores are opened anew: they have all attributes, whichever of them a run has learnt.
        """
        if folder not in self._extractors:
            splits = (open_store(folder / split) for split in ("train", "validation"))
            inputs = ExtractorInputs(*splits, self._options.inception, self._options.resize)
            self._extractors[folder] = make_extractors(inputs)
        return self._extractors[folder]

"""From pictures as they lie on a disk to the batches of a step: source -> store -> feed."""

"""What the report's numbers mean, for a reader who meets them for the first time."""

SCORES = {
    "FID": "Distance between the crowds of generated and of real pictures, as Inception, a network "
    "trained on ImageNet, sees them. The number that most papers report.",
    "KID": "The same question as FID by another statistic, which a small number of pictures does "
    "not bias.",
    "FD": "Distance between the crowds of generated and of real pictures, as a network sees them: "
    "their mean and their spread.",
    "KD": "The same question as FD by another statistic, which a small number of pictures does not "
    "bias.",
    "MIND": "Distance between the two crowds seen from many random directions; it settles with few "
    "pictures.",
    "swd": "Distance between small patches of generated and of real pictures, from fine to coarse: "
    "texture, not faces.",
    "precision": "Share of the generated pictures that look like some real one: quality.",
    "recall": "Share of the real pictures that the generator comes near to: variety.",
    "density": "How thickly real pictures lie round the generated ones: quality; real ones get 1.",
    "coverage": "Share of the real pictures with a generated one close by: variety.",
    "authenticity": "Share of the generated pictures that are no near-copy of a training picture. "
    "Compare with the value for real pictures: even those are not at 1.",
    "nearest_ratio": "How far generated pictures keep from training pictures, beside how far new "
    "real ones do: near 1 is right, well below 1 are copies.",
    "FJD": "FD that also sees which attributes were asked for: quality, variety and control at "
    "once.",
    "balanced_accuracy": "How often a classifier finds in generated faces what was asked; mean "
    "over asked with and without, and over attributes: 0.5 is chance.",
    "accuracy_ratio": "How well generated faces show what was asked, as a share of how well the "
    "same classifier reads it off real faces: 1 is as well, about 0.55 is chance.",
    "control": "The same ratio of what exceeds chance: 0 where requests are ignored, 1 where they "
    "show as clearly as attributes of real faces do.",
    "swap": "Share of the faces in which an attribute turns when the request turns it alone.",
    "leakage": "Share of the other attributes that turn, too, when one is turned in the request.",
    "joint": "Share of faces that are too many of their kind: how far the combinations of twelve "
    "attributes are from their known law.",
    "contradictions": "Share of faces that break the rules by which rendered faces are drawn, such "
    "as bald with a fringe.",
    "correct_seen": "Share of requests of which all twelve plain attributes came out; of "
    "combinations that occur in training.",
    "correct_unseen": "The same of combinations that never occur in training.",
    "IS": "How clearly pictures fall into ImageNet's classes, and into how many. Says little about "
    "faces.",
}
UNVERIFIED = "The weights are not known to be the usual ones: do not compare with other people's."
ATTRIBUTES = (
    ("With it", "faces that were asked to have the attribute."),
    ("TPR, TNR", "of faces asked to have it, the percentage in which the classifier finds it; of "
     "those asked not to, in which it does not."),
    ("Balanced", "mean of the two, for generated and for real faces: 50 is chance. The gap is the "
     "first less the second."),
    ("F1", "harmonic mean of precision and TPR; low where an attribute is rare."),
    ("Swap", "faces in which it turns when it alone is turned in the request."),
    ("Distance", "of generated from real faces that have it, and of real from real ones."),
    ("Tier", "how far the classifier can be trusted on it; judge by the sure ones."),
)  # fmt: skip
SAMPLES = "Not picked. A row for each attribute: every face in it was asked to have that."
NEAREST = (
    "Below each generated face lies the training picture nearest to it as the network sees it: "
    "the nearest pairs of all. A likeness of pose, hair or background is usual; the same person in "
    "the same picture is a copy, and many such pairs mean that the generator has memorised its "
    "data."
)
CALIBRATED = (
    "Real pictures, made worse step by step, in place of generated ones: a score that is to be "
    "trusted with a fault moves with it. Each line is a share of its largest change."
)
SWAP = (
    "Row: the attribute that was turned in the request. Column: share of the faces in which the "
    "classifier's decision on that attribute turned. Right is a full diagonal in an empty field; "
    "off it are the attributes that come along, some of them for good reason (a beard with a man)."
)

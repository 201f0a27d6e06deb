"""Words of the report, for a reader who meets its numbers for the first time."""

from typing import NamedTuple

from gan.metrics import scores


class Meaning(NamedTuple):
    """What a score measures, as a sentence, and what its baseline is, as the end of another one."""

    measures: str
    baseline: str


OTHER_REAL = "the baseline is the score of as many other real pictures."
DEFINED = "the baseline is 1 by definition."
RENDERED = "the baseline is the score of as many freshly rendered faces."

SCORES = {
    **{
        name: Meaning(score.measures, OTHER_REAL)
        for name, score in (scores.PICTURES | scores.FEATURES).items()
    },
    "FID": Meaning(
        "Frechet distance between generated and real pictures in the features of Inception, a "
        "classifier trained on ImageNet; most papers report this number.",
        OTHER_REAL,
    ),
    "KID": Meaning(
        "Kernel distance between generated and real pictures in the features of Inception; unlike "
        "FID, it is unbiased for small numbers of pictures.",
        OTHER_REAL,
    ),
    "precision": Meaning(
        "Share of the generated pictures that lie among the real ones in the features of a "
        "classifier: it measures quality.",
        OTHER_REAL,
    ),
    "recall": Meaning(
        "Share of the real pictures that lie among the generated ones in the features of a "
        "classifier: it measures variety.",
        OTHER_REAL,
    ),
    "density": Meaning(
        "How closely real pictures surround each generated one in the features of a classifier: it "
        "measures quality and can exceed 1.",
        OTHER_REAL,
    ),
    "coverage": Meaning(
        "Share of the real pictures that have a generated one close by in the features of a "
        "classifier: it measures variety.",
        OTHER_REAL,
    ),
    "authenticity": Meaning(
        "Share of the generated pictures that are not near-copies of a training picture.",
        "the baseline is the score of held-out real pictures, which is below 1 as well.",
    ),
    "nearest_ratio": Meaning(
        "Mean distance from generated pictures to their nearest training pictures, divided by the "
        "same distance for held-out real pictures: well below 1 means copies.",
        DEFINED,
    ),
    "FJD": Meaning(
        "Frechet distance between generated pictures together with their requests and real "
        "pictures together with their labels: it measures quality, variety and control at once.",
        "there is no baseline, but FJD is never below FD.",
    ),
    "balanced_accuracy": Meaning(
        "How often a classifier finds in generated faces what was requested: the mean over faces "
        "that should have an attribute and faces that should not, and over attributes; 0.5 is "
        "chance.",
        "the baseline is the accuracy of the same classifier on real pictures.",
    ),
    "accuracy_ratio": Meaning(
        "Balanced accuracy of a classifier on generated faces, divided by its balanced accuracy on "
        "real ones: at 1 requests show as clearly as attributes of real faces do, and about 0.55 "
        "is chance.",
        DEFINED,
    ),
    "control": Meaning(
        "Balanced accuracy above chance on generated faces, divided by the same on real ones: at 0 "
        "requests are ignored, at 1 they show as clearly as attributes of real faces do.",
        DEFINED,
    ),
    "swap": Meaning(
        "Share of the faces in which an attribute changes as requested when the request changes "
        "that attribute alone; of classes, and of the values of a column, one gives way to "
        "another.",
        "there is no baseline.",
    ),
    "leakage": Meaning(
        "Share of the other attributes that change as well when the request changes one attribute "
        "alone.",
        "there is no baseline, but some attributes rightly change together, so 0 is not the aim.",
    ),
    "joint": Meaning(
        "Share of the faces that would need another combination of twelve attributes for all "
        "combinations to be as frequent as they are among rendered faces.",
        RENDERED,
    ),
    "contradictions": Meaning(
        "Share of the faces that break a rule of the rendered faces, such as a bald head with a "
        "fringe.",
        RENDERED,
    ),
    "correct_seen": Meaning(
        "Share of the requests for which all twelve plain attributes came out as requested, among "
        "combinations that occur in the training set.",
        RENDERED,
    ),
    "correct_unseen": Meaning(
        "Share of the requests for which all twelve plain attributes came out as requested, among "
        "combinations that never occur in the training set.",
        RENDERED,
    ),
    "IS": Meaning(
        "How clearly pictures fall into ImageNet's classes, and into how many of them; it says "
        "little about faces.",
        OTHER_REAL,
    ),
}
UNVERIFIED = (
    "The weights of the classifier are not known to be the usual ones: do not compare this number "
    "with other people's."
)

# The questions that scores answer, and the scores that answer each.
QUESTIONS = {
    "Do the pictures look like real ones?": (
        *("FID", "KID", *scores.FEATURES, *scores.PICTURES, "IS"),
        *("precision", "recall", "density", "coverage"),
    ),
    "Do they show what was requested?": (
        *("FJD", "balanced_accuracy", "accuracy_ratio", "control", "swap", "leakage"),
    ),
    "Are they copies of training pictures?": ("authenticity", "nearest_ratio"),
    "Do they keep to the rules of rendered faces?": (
        *("joint", "contradictions", "correct_seen", "correct_unseen"),
    ),
}

ATTRIBUTES = {
    "With it": "Number of generated faces that were requested to have the attribute.",
    "TPR": "True positive rate: among faces requested to have the attribute, the share in which "
    "the classifier finds it.",
    "TNR": "True negative rate: among faces requested not to have the attribute, the share in "
    "which the classifier does not find it.",
    "Balanced": "Balanced accuracy on generated faces, the mean of TPR and TNR; 50 is chance.",
    "Real": "Balanced accuracy of the same classifier on real faces, the baseline of Balanced.",
    "Gap": "Balanced minus Real: below 0, the attribute shows less clearly than in real faces.",
    "F1": "Harmonic mean of precision and TPR; it is low where an attribute is rare.",
    "Swap": "Share of the faces in which the attribute changes as requested when the request "
    "changes this attribute alone.",
    "Distance": "Frechet distance between generated faces requested to have the attribute and real "
    "faces that have it. It compares only with its baseline.",
    "Baseline": "The same distance for other real faces that have the attribute.",
    "Tier": "How far the classifier can be trusted on the attribute: judge by the sure ones.",
}

BASELINE = (
    "A baseline is the score that other real pictures get in place of the generated ones: no "
    "generator can be expected to do better."
)
CHARTS = (
    "The line is the mean over the evaluation seeds, in a band of one standard deviation. The "
    "dashed line is the baseline."
)
SAMPLES = (
    "These samples are not selected. All faces of a column share one latent vector, and all faces "
    "of a row were requested to have the attribute beside it."
)
NEAREST = (
    "Each generated face stands above the training picture that is nearest to it in the features "
    "of the classifier; these are the nearest pairs of all. A similar pose, hair or background is "
    "usual. The same person in the same picture is a copy, and many copies mean that the generator "
    "has memorised its training data."
)
CALIBRATED = (
    "Real pictures were made worse step by step and scored in place of generated ones. A score "
    "that can be trusted with a fault moves with it. Each line shows the change of a score as a "
    "share of its largest change."
)
SWAP = (
    "Each row is the attribute that was changed in the request. Each column shows the share of "
    "faces in which the classifier's decision on that attribute changed. Right is a full diagonal "
    "in an empty field; what is off the diagonal changes along with the requested attribute, "
    "sometimes for good reason (a beard with a man)."
)
PROTOCOL = (
    "A protocol is everything that the numbers depend on besides the generated pictures. Numbers "
    "of different protocols do not compare."
)

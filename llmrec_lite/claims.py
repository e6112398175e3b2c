"""The claims of the five articles as the book tests them: who says what, and the rival that could explain it away.

S1 to S5 are the articles of `book/errata.md`. A chapter records its verdict with `llmrec_lite.results.record_claim`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["statement", "promise", "method recommended", "problem named"]


@dataclass(frozen=True)
class Statement:
    """A claim of the ledger.

    Attributes:
        text: the claim as it is tested, in a sentence.
        kind: what the articles do with it.
        source: the articles, and what each of them says, in our words.
        rival: the strongest fair rival that the claim is measured against, the control included.
    """

    text: str
    kind: Kind
    source: str
    rival: str

    def __str__(self) -> str:
        return self.text


CLAIMS = {
    "C01": Statement(
        "Language-model features beat classic content features for content-based recommendation.",
        "statement",
        "S2 says that they are more accurate, S3 that they understand users better; S1 and S5 do not compare.",
        "The same model on TF-IDF features, with genres and a smooth function of the year. The rival is ours.",
    ),
    "C02": Statement(
        "Collaborative filtering degrades with sparsity.",
        "problem named",
        "S1 and S4; S4 says it of content-based recommendation, too. That language-model features do not degrade is "
        "our question.",
        "The same models on all ratings, and popularity, on ever smaller shares of them.",
    ),
    "C03": Statement(
        "A language model recommends new items, without any interaction, from their text alone.",
        "promise",
        "S1 names new content as a problem that language models should solve; S4 promises adaptation to new items; S5 "
        "promises a cold start, and speaks of users' descriptions only.",
        "Chance, and the same model on the text of another item.",
    ),
    "C04": Statement(
        "A language model serves new users from a request in words alone.",
        "promise",
        "S5, whose request is Chinese.",
        "The most popular items, and a lookup of the genre that the request names.",
    ),
    "C05": Statement(
        "A pre-trained model that is fine-tuned beats the same model trained from scratch.",
        "method recommended",
        "S5: pre-train, fine-tune, fuse.",
        "The same network from random weights with as many updates, and with ten times as many.",
    ),
    "C06": Statement(
        "Fine-tuning overfits when data are scarce, and augmentation helps.",
        "problem named",
        "S5 names the problem and the remedy; the English half of S4's second draft does, too.",
        "The same training with more labels, and without augmentation.",
    ),
    "C07": Statement(
        "Parameter-efficient tuning comes close to full fine-tuning at a fraction of the parameters.",
        "method recommended",
        "S5, by its references.",
        "Full fine-tuning, and frozen features with a trained head.",
    ),
    "C08": Statement(
        "Meta-learning adapts to a new user from few samples better than joint training plus fine-tuning.",
        "promise",
        "S1, S2 and S4 promise fast adaptation, S2 from few samples. The rival is ours.",
        "Joint training with as many updates, fine-tuned in the same way; a ridge regression on factors.",
    ),
    "C09": Statement(
        "Meta-learning reduces the data that a new task needs.",
        "promise",
        "S2; S4 says it of transfer learning.",
        "The number of ratings that joint training plus fine-tuning, and a ridge regression, need for the same error.",
    ),
    "C10": Statement(
        "A meta-learned initialization converges quickly on new tasks (MAML, Reptile).",
        "statement",
        "S4.",
        "The initialization that joint training finds, and an untrained one, step by step.",
    ),
    "C11": Statement(
        "Distillation, transfer and model fusion help fast adaptation.",
        "method recommended",
        "Distillation S1 and S2, transfer S1 and S4, fusion S2. How much quality they keep, and at what cost, is our "
        "question.",
        "Distillation: the large model, and a small one without a teacher. Transfer: no source. Fusion: one model, and "
        "a linear one.",
    ),
    "C12": Statement(
        "Multi-task training of recommendation and satisfaction, or behavior, helps each of them.",
        "promise",
        "S4: satisfaction in its first draft, behavior in its second.",
        "Single-task networks, each with settings of its own, and a linear model.",
    ),
    "C13": Statement(
        "The meta-knowledge correction improves the dot-product score.",
        "statement",
        "S3.",
        "The same factors without the correction, from the same start, and ALS.",
    ),
    "C14": Statement(
        "Attention over the behavior sequence improves feature extraction.",
        "statement",
        "S3.",
        "The mean of the same sequence. Weights by distance alone, our further control, show what attention adds.",
    ),
    "C15": Statement(
        "Fusion with a knowledge graph improves accuracy, and meta-knowledge adapts well to the long tail.",
        "statement",
        "S3, in two statements. That the tail gains most is our question.",
        "The same recommender without the graph, and with its links shuffled.",
    ),
    "C16": Statement(
        "Fusing a language model and collaborative filtering improves accuracy.",
        "promise",
        'S5; S4 says it of hybrids in general. "More accurate than either" is our test.',
        "The strongest single part, and the same fusion without the language model.",
    ),
    "C17": Statement(
        "Fusing a language model and collaborative filtering improves diversity.",
        "promise",
        "S5; S4 says it of hybrids in general.",
        "The collaborative-filtering part of the fusion, and a fusion without the language model.",
    ),
    "C18": Statement(
        "An incremental update needs only a part of the parameters, is efficient, and keeps up with changing "
        "preferences.",
        "promise",
        "S4.",
        "Retraining on everything, and no update.",
    ),
    "C19": Statement(
        "The system stays stable and good in the long run under its own feedback.",
        "problem named",
        "S5. Whether the loop is stable and stays good is our measurement.",
        "Random recommendations, and a system that does not learn from its own clicks.",
    ),
    "C20": Statement(
        "Language models classify the satisfaction and the problems in reviews.",
        "method recommended",
        "S4.",
        "TF-IDF with a linear classifier, and the most frequent class.",
    ),
    "C21": Statement(
        "Generated, personalized text raises engagement and satisfaction.",
        "promise",
        "S4; S2 only describes such text. Offline we can measure whether the text is faithful to the item and fits the "
        "user.",
        "A template filled with the item's facts, and the text of a random item.",
    ),
    "C22a": Statement(
        "Recommendations can be explained.",
        "problem named",
        "All five name the challenge; S3 and S4 name remedies.",
        "A reason drawn at random.",
    ),
    "C22b": Statement(
        "Quality is fair between groups of users.",
        "problem named",
        "S1, S2 and S3 name the challenge.",
        "Groups of the same sizes and numbers of ratings, drawn at random.",
    ),
    "C22c": Statement(
        "Privacy can be protected at good quality.",
        "problem named",
        "S1 and S4 name the challenge, S2 and S3 remedies; private training is our form of S3's.",
        "The same model without protection, and popularity.",
    ),
    "C23": Statement(
        "Recommendations can be served in real time.",
        "promise",
        "S1, S2, S3 and S5 name it as a trend or a problem; S4 promises it, and reports a case without a source.",
        "A time limit of 100 ms for a list, at the load that one machine bears.",
    ),
    "C24": Statement(
        "A language model generates recommended items that fit the user.",
        "promise",
        "S5; S2 promises a generated recommendation strategy.",
        "The most popular items, and the ranking by the same model's likelihoods.",
    ),
    "C25": Statement(
        "Re-ranking by the user's history raises precision and satisfaction.",
        "promise",
        "S1.",
        "The same list before it is re-ranked.",
    ),
    "C26": Statement(
        "Combining text with other modalities raises accuracy and diversity.",
        "promise",
        "S3 and S4 promise accuracy, S5 diversity.",
        "Text alone, and the other modality shuffled.",
    ),
    "C27": Statement(
        "Larger models recommend better.",
        "statement",
        "S2.",
        "A smaller model of the same family with the same budget.",
    ),
    "C28": Statement(
        "Meta-learning adapts to new groups of users, domains and languages.",
        "promise",
        "S2.",
        "Joint training plus fine-tuning on the same new group or domain.",
    ),
}  # fmt: skip

"""The papers whose formulas are implemented; every method cites one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """Where a formula was published."""

    authors: str
    year: int
    title: str
    venue: str
    url: str

    @property
    def short(self) -> str:
        """``Modarressi et al. 2022``."""
        return f"{self.authors} {self.year}"

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}). {self.title}. {self.venue}. {self.url}"


BRUNNER_2020 = Paper(
    "Brunner et al.", 2020, "On Identifiability in Transformers", "ICLR", "https://openreview.net/forum?id=BJg1f6EFDB"
)
ABNAR_2020 = Paper(
    "Abnar & Zuidema",
    2020,
    "Quantifying Attention Flow in Transformers",
    "ACL",
    "https://aclanthology.org/2020.acl-main.385",
)
KOBAYASHI_2020 = Paper(
    "Kobayashi et al.",
    2020,
    "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms",
    "EMNLP",
    "https://aclanthology.org/2020.emnlp-main.574",
)
KOBAYASHI_2021 = Paper(
    "Kobayashi et al.",
    2021,
    "Incorporating Residual and Normalization Layers into Analysis of Masked Language Models",
    "EMNLP",
    "https://aclanthology.org/2021.emnlp-main.373",
)
MODARRESSI_2022 = Paper(
    "Modarressi et al.",
    2022,
    "GlobEnc: Quantifying Global Token Attribution by Incorporating the Whole Encoder Layer in Transformers",
    "NAACL",
    "https://aclanthology.org/2022.naacl-main.19",
)
VASWANI_2017 = Paper("Vaswani et al.", 2017, "Attention Is All You Need", "NeurIPS", "https://arxiv.org/abs/1706.03762")
MOHEBBI_2023 = Paper(
    "Mohebbi et al.",
    2023,
    "Quantifying Context Mixing in Transformers",
    "EACL",
    "https://aclanthology.org/2023.eacl-main.245",
)
FERRANDO_2022 = Paper(
    "Ferrando et al.",
    2022,
    "Measuring the Mixing of Contextual Information in the Transformer",
    "EMNLP",
    "https://aclanthology.org/2022.emnlp-main.595",
)
SUN_2021 = Paper(
    "Sun & Marasović",
    2021,
    "Effective Attention Sheds Light On Interpretability",
    "Findings of ACL",
    "https://aclanthology.org/2021.findings-acl.361",
)
MODARRESSI_2023 = Paper(
    "Modarressi et al.",
    2023,
    "DecompX: Explaining Transformers Decisions by Propagating Token Decomposition",
    "ACL",
    "https://aclanthology.org/2023.acl-long.149",
)
FERRANDO_2023 = Paper(
    "Ferrando et al.",
    2023,
    "Explaining How Transformers Use Context to Build Predictions",
    "ACL",
    "https://aclanthology.org/2023.acl-long.301",
)
SIMONYAN_2014 = Paper(
    "Simonyan et al.",
    2014,
    "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
    "ICLR workshop",
    "https://arxiv.org/abs/1312.6034",
)
ZEILER_2014 = Paper(
    "Zeiler & Fergus",
    2014,
    "Visualizing and Understanding Convolutional Networks",
    "ECCV",
    "https://arxiv.org/abs/1311.2901",
)
SUNDARARAJAN_2017 = Paper(
    "Sundararajan et al.",
    2017,
    "Axiomatic Attribution for Deep Networks",
    "ICML",
    "https://proceedings.mlr.press/v70/sundararajan17a.html",
)
SPEARMAN_1904 = Paper(
    "Spearman",
    1904,
    "The Proof and Measurement of Association between Two Things",
    "American Journal of Psychology 15",
    "https://doi.org/10.2307/1412159",
)
KENDALL_1945 = Paper(
    "Kendall",
    1945,
    "The Treatment of Ties in Ranking Problems",
    "Biometrika 33",
    "https://doi.org/10.1093/biomet/33.3.239",
)
PEARSON_1895 = Paper(
    "Pearson",
    1895,
    "Note on Regression and Inheritance in the Case of Two Parents",
    "Proceedings of the Royal Society of London 58",
    "https://doi.org/10.1098/rspl.1895.0041",
)
ADEBAYO_2018 = Paper(
    "Adebayo et al.", 2018, "Sanity Checks for Saliency Maps", "NeurIPS", "https://arxiv.org/abs/1810.03292"
)
DEYOUNG_2020 = Paper(
    "DeYoung et al.",
    2020,
    "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
    "ACL",
    "https://aclanthology.org/2020.acl-main.408",
)
YIN_2022 = Paper(
    "Yin & Neubig",
    2022,
    "Interpreting Language Models with Contrastive Explanations",
    "EMNLP",
    "https://aclanthology.org/2022.emnlp-main.14",
)
PETSIUK_2018 = Paper(
    "Petsiuk et al.",
    2018,
    "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    "BMVC",
    "https://arxiv.org/abs/1806.07421",
)
CHEN_2020 = Paper(
    "Chen et al.",
    2020,
    "Generating Hierarchical Explanations on Text Classification via Feature Interaction Detection",
    "ACL",
    "https://aclanthology.org/2020.acl-main.494",
)
COHEN_WANG_2025 = Paper(
    "Cohen-Wang et al.", 2025, "Learning to Attribute with Attention", "arXiv", "https://arxiv.org/abs/2504.13752"
)
SMILKOV_2017 = Paper(
    "Smilkov et al.", 2017, "SmoothGrad: removing noise by adding noise", "arXiv", "https://arxiv.org/abs/1706.03825"
)
ZHAO_2021 = Paper(
    "Zhao et al.",
    2021,
    "Calibrate Before Use: Improving Few-Shot Performance of Language Models",
    "ICML",
    "https://proceedings.mlr.press/v139/zhao21c.html",
)
ZHANG_2018 = Paper(
    "Zhang et al.",
    2018,
    "Top-Down Neural Attention by Excitation Backprop",
    "International Journal of Computer Vision 126",
    "https://arxiv.org/abs/1608.00507",
)
ARRAS_2022 = Paper(
    "Arras et al.",
    2022,
    "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations",
    "Information Fusion 81",
    "https://arxiv.org/abs/2003.07258",
)
ZHAO_2023 = Paper(
    "Zhao & Aletras",
    2023,
    "Incorporating Attribution Importance for Improving Faithfulness Metrics",
    "ACL",
    "https://aclanthology.org/2023.acl-long.261",
)
WALKER_2024 = Paper(
    "Walker et al.",
    2024,
    "Attribution Quality Metrics with Magnitude Alignment",
    "IJCAI",
    "https://github.com/chasewalker26/Magnitude-Aligned-Scoring",
)
EDIN_2025 = Paper(
    "Edin et al.",
    2025,
    "Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability",
    "ACL",
    "https://arxiv.org/abs/2408.08137",
)
HUANG_2026 = Paper(
    "Huang & Chan",
    2026,
    "Faithfulness Evaluation for Decoder-only LLM Attributions with Controlled Retained Information",
    "arXiv",
    "https://arxiv.org/abs/2601.03089",
)
PAN_2026 = Paper(
    "Pan et al.",
    2026,
    "Towards Long-Horizon Interpretability: Efficient and Faithful Multi-Token Attribution for Reasoning LLMs",
    "ICML",
    "https://arxiv.org/abs/2602.01914",
)
JANTSCH_2026 = Paper(
    "Jantsch et al.",
    2026,
    "Dual Path Attribution: Efficient Attribution for SwiGLU-Transformers through Layer-Wise Target Propagation",
    "arXiv",
    "https://arxiv.org/abs/2603.19742",
)

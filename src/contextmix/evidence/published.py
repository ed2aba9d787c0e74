"""Numbers that GlobEnc gives, each with the model and data that they are of. None of them is about a user's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a printed table: mean and standard deviation over texts of Spearman's ρ with saliency.

    Attributes:
        model: Fine-tuned on the data.
        data: Validation set.
        table: Where it is printed.
        values: Name of the method in the paper → (mean, standard deviation).
    """

    model: str
    data: str
    table: str
    values: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """``BERT-base SST-2``."""
        return f"{self.model} {self.data}"

    @property
    def means(self) -> dict[str, float]:
        """Name of the method → mean."""
        return {name: mean for name, (mean, _) in self.values.items()}


# Mean and standard deviation on SST-2, on MNLI, and on HateXplain, as printed.
_ROLLOUT = {
    ("BERT-base", "table 1"): """
        W          -.11 .26  -.06 .22   .12 .26
        W_FixedRes -.24 .26  -.05 .26   .13 .28
        W_Res       .19 .26   .27 .25   .53 .24
        N           .44 .20   .47 .16   .43 .22
        N_FixedRes  .48 .20   .55 .16   .48 .22
        N_Res       .73 .13   .75 .10   .66 .17
        N_ResLN    -.21 .26  -.06 .26   .08 .28
        N_Enc       .77 .12   .78 .09   .72 .17""",
    ("BERT-large", "table A.1"): """
        W          -.38 .16  -.61 .14  -.41 .25
        W_FixedRes -.25 .19  -.48 .19  -.21 .30
        W_Res      -.10 .21   .33 .23   .09 .30
        N           .44 .24   .13 .27   .48 .25
        N_FixedRes  .49 .24   .26 .25   .49 .30
        N_Res       .77 .11   .66 .12   .73 .16
        N_ResLN    -.07 .23  -.35 .24   .06 .32
        N_Enc       .83 .08   .77 .09   .76 .17""",
    ("ELECTRA-base", "table A.2"): """
        W          -.37 .19  -.31 .22   .02 .29
        W_FixedRes -.37 .19  -.24 .23   .01 .29
        W_Res      -.10 .22   .08 .25   .20 .27
        N           .18 .21   .12 .21   .21 .26
        N_FixedRes  .23 .22   .32 .23   .28 .26
        N_Res       .54 .17   .54 .14   .44 .21
        N_ResLN    -.24 .23  -.16 .24  -.07 .28
        N_Enc       .64 .15   .68 .12   .47 .22""",
}


def _columns() -> tuple[Column, ...]:
    found = []
    for (model, table), text in _ROLLOUT.items():
        lines = [line.split() for line in text.strip().splitlines()]
        for number, data in enumerate(("SST-2", "MNLI", "HateXplain")):
            values = {name: (float(cells[2 * number]), float(cells[2 * number + 1])) for name, *cells in lines}
            found.append(Column(model, data, table, values))
    return tuple(found)


GLOBENC_ROLLOUT = _columns()
"""GlobEnc, tables 1, A.1 and A.2: the [CLS] row of the rollout of all layers. The saliency behind BERT-large on SST-2
looks like that of a saturated model in the authors' files, so read that column with care."""

GLOBENC_LAYERS = {
    ("single", "N"): ((-0.50, 0.18), (0.28, 0.23), (0.40, 0.21), (0.41, 0.21)),
    ("single", "N_Res"): ((-0.48, 0.18), (0.29, 0.24), (0.41, 0.19), (0.41, 0.19)),
    ("single", "N_Enc"): ((-0.47, 0.18), (0.29, 0.24), (0.41, 0.19), (0.41, 0.19)),
    ("rollout", "N"): ((-0.50, 0.18), (0.44, 0.20), (0.44, 0.20), (0.44, 0.20)),
    ("rollout", "N_Res"): ((-0.48, 0.18), (0.70, 0.14), (0.73, 0.13), (0.73, 0.13)),
    ("rollout", "N_Enc"): ((-0.47, 0.18), (0.74, 0.14), (0.77, 0.12), (0.78, 0.12)),
}
"""GlobEnc, table 2, BERT-base on SST-2: mean and standard deviation at layers 1, 6, 12, and at the best of 12."""

GLOBENC_CURVES = {
    ("rollout", "W"): "-.52 -.18 -.11 -.09 -.10 -.11 -.11 -.11 -.11 -.11 -.11 -.11",
    ("rollout", "W_FixedRes"): "-.52 -.44 -.36 -.28 -.24 -.25 -.24 -.25 -.24 -.24 -.24 -.24",
    ("rollout", "W_Res"): "-.52 -.48 -.41 -.31 -.25 -.23 -.17 -.14 -.04 .04 .12 .19",
    ("rollout", "N"): "-.50 .19 .38 .43 .43 .44 .44 .44 .44 .44 .44 .44",
    ("rollout", "N_FixedRes"): "-.48 -.30 -.05 .17 .28 .34 .39 .41 .45 .46 .47 .48",
    ("rollout", "N_Res"): "-.48 -.17 .23 .60 .66 .70 .71 .72 .73 .73 .73 .73",
    ("rollout", "N_ResLN"): "-.48 -.41 -.36 -.30 -.27 -.25 -.22 -.21 -.21 -.21 -.21 -.21",
    ("rollout", "N_Enc"): "-.47 -.05 .45 .68 .72 .74 .76 .77 .77 .78 .78 .77",
    ("single", "W"): "-.52 -.40 -.16 .12 .31 .17 .11 .12 .08 .14 .05 .14",
    ("single", "N"): "-.50 -.33 .11 .38 .41 .28 .17 .21 .18 .26 .27 .40",
    ("single", "N_Res"): "-.48 -.33 .11 .38 .41 .29 .21 .23 .22 .29 .30 .41",
    ("single", "N_ResLN"): "-.48 -.33 .14 .39 .40 .28 .20 .22 .22 .29 .29 .41",
    ("single", "N_Enc"): "-.47 -.33 .14 .39 .41 .29 .21 .22 .22 .29 .29 .41",
}
"""BERT-base on SST-2, layers 1 to 12: the curves of GlobEnc's figure 3 and those of single layers, as the authors'
notebook ``attention_flow.ipynb`` prints them."""

GLOBENC_HTA = "0.93 0.95 0.96 0.96 0.91 0.92 0.92 0.93 0.90 0.94 0.95 0.84"
"""N_Enc of pre-trained BERT-base, 256 texts of SST-2, layers 1 to 12: Spearman's ρ of rows with plain HTA, mean of rows
and texts, as the authors' notebook ``attention_flow_HTA.ipynb`` prints it. The caption of figure 4 says Pearson."""

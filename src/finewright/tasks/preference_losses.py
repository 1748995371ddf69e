"""Losses of preference tuning, of sums of log-probabilities over the tokens of whole answers.

Each function returns the loss of every row, shape (R,), in nats unless it says otherwise. A chosen answer has the log-probability
`chosen`, a rejected one `rejected`; those by the untrained model are called `reference`.
"""

import torch
from torch.nn import functional as F

_LEAST_DISTANCE = 1e-6
"""Least distance of a mean log-probability from 0 where the odds are computed: they are infinite at 0."""


def dpo(margins_R: torch.Tensor, *, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return the loss of Direct Preference Optimization (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

    −(1 − ε) log σ(β Δ) − ε log σ(−β Δ), where ε is the share of pairs that are the wrong way round: the conservative loss of
    Mitchell (2023), https://ericmitchell.ai/cdpo.pdf.

    Parameters
    ----------
    margins_R
        Δ = (chosen − its reference) − (rejected − its reference), shape (R,).
    """
    scaled_R = beta * margins_R
    return -(1 - label_smoothing) * F.logsigmoid(scaled_R) - label_smoothing * F.logsigmoid(-scaled_R)


def ipo(mean_margins_R: torch.Tensor, *, beta: float) -> torch.Tensor:
    """Return the loss of Identity Preference Optimization (Azar et al. 2023, arXiv:2310.12036, equation 17), no unit.

    (Δ − 1 / (2 β))², where β is the paper's τ.

    Parameters
    ----------
    mean_margins_R
        Δ as in `dpo`, of log-probabilities per token of each answer, shape (R,).
    """
    return (mean_margins_R - 1 / (2 * beta)) ** 2


def kto(
    ratios_R: torch.Tensor,
    good_R: torch.Tensor,
    baseline: torch.Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """Return the loss of Kahneman-Tversky Optimization (Ethayarajh et al. 2024, arXiv:2402.01306, equation 8), no unit.

    λ_D (1 − σ(β (r − z))) for wanted answers, λ_U (1 − σ(β (z − r))) for unwanted ones.

    Parameters
    ----------
    ratios_R
        r, the log-probability of an answer minus its reference, shape (R,).
    good_R
        Whether each answer is wanted, shape (R,).
    baseline
        z, the divergence from the untrained model; no gradient flows through it.
    """
    distances_R = beta * (ratios_R - baseline.detach())
    return torch.where(good_R, desirable_weight * torch.sigmoid(-distances_R), undesirable_weight * torch.sigmoid(distances_R))


def divergence(mean_ratio: torch.Tensor) -> torch.Tensor:
    """Return z of `kto`: the mean of log-probability minus reference over answers to other prompts, at least 0."""
    return mean_ratio.detach().clamp(min=0)


def orpo(chosen_means_R: torch.Tensor, rejected_means_R: torch.Tensor, *, weight: float) -> torch.Tensor:
    """Return the loss of Odds Ratio Preference Optimization (Hong et al. 2024, arXiv:2403.07691, equation 7), without that of the
    chosen answer's tokens.

    −λ log σ(log odds(chosen) − log odds(rejected)), where odds(p) = p / (1 − p).

    Parameters
    ----------
    chosen_means_R, rejected_means_R
        Log-probabilities per token of each answer, shape (R,).
    """
    return -weight * F.logsigmoid(_log_odds(chosen_means_R) - _log_odds(rejected_means_R))


def _log_odds(means_R: torch.Tensor) -> torch.Tensor:
    """Return log(p / (1 − p)) from log p."""
    means_R = means_R.clamp(max=-_LEAST_DISTANCE)
    return means_R - torch.log(-torch.expm1(means_R))


def simpo(chosen_means_R: torch.Tensor, rejected_means_R: torch.Tensor, *, beta: float, gamma: float) -> torch.Tensor:
    """Return the loss of Simple Preference Optimization (Meng et al. 2024, arXiv:2405.14734, equation 6).

    −log σ(β (chosen − rejected) − γ), of log-probabilities per token of each answer, shape (R,).
    """
    return -F.logsigmoid(beta * (chosen_means_R - rejected_means_R) - gamma)

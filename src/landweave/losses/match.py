"""What draws a student to its teacher: squared error, cosine, and contrast with several faulty images of one place.

The teacher gets no gradient. The rows of all processes count, so each value is that of the joint batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from landweave.losses.processes import gather
from landweave.losses.rows import check_temperature, cross_lse, full_precision, no_autocast, unit, zero

if TYPE_CHECKING:
    from jaxtyping import Float


def mse(student: Float[Tensor, "N C *HW"], teacher: Float[Tensor, "N C *HW"]) -> Float[Tensor, ""]:
    """Squared error as a share of the teacher's own spread: 1 is what a student has that gives the mean throughout.

        L = sum_i |s_i - t_i|^2 / ( n / (n - 1) sum_i |t_i - mean_j t_j|^2 )

    i runs over the N rows, and over the positions of maps, n in all. Dividing by the spread is ours: features of a
    layer have any scale, and so the errors of several layers, and those of other losses, can be added up. One row
    alone has no spread; its |t|^2 stands for it. No row gives 0.

    Raises:
        ValueError: unequal shapes.
    """
    _same_shape(student, teacher)
    with no_autocast(student):
        s, t = (
            full_precision(x).flatten(2) if x.ndim > 2 else full_precision(x)[..., None] for x in (student, teacher)
        )
        t = t.detach()
        error = gather((s - t).square().sum((1, 2)))
        if not len(error):
            return zero(student)
        spread = _spread(gather(t.double().sum(2)), gather(t.double().square().sum((1, 2))), t.shape[2])
        return error.sum() / spread.to(error)


def _spread(sums: Float[Tensor, "N C"], squares: Float[Tensor, " N"], positions: int) -> Float[Tensor, ""]:
    """`n / (n - 1) sum |t - mean|^2` from the sums of each row; never 0."""
    n = len(sums) * positions
    total = squares.sum()
    own = total if n == 1 else (total - sums.sum(0).square().sum() / n) * n / (n - 1)
    return own.maximum(1e-6 * total + 1e-12)  # rows that are all alike still give a number


def cosine(student: Float[Tensor, "N C *HW"], teacher: Float[Tensor, "N C *HW"]) -> Float[Tensor, ""]:
    """One minus the mean cosine of student and teacher, row by row; of maps, position by position. No row gives 0.

    Raises:
        ValueError: unequal shapes.
    """
    _same_shape(student, teacher)
    with no_autocast(student):
        cosines = (unit(student) * unit(teacher.detach())).sum(1)
        rows = gather(cosines.flatten(1).mean(1) if cosines.ndim > 1 else cosines)
        return 1 - rows.mean() if len(rows) else zero(student)


def multi_clip(student: Float[Tensor, "N M D"], teacher: Float[Tensor, "N D"], *, scale: float) -> Float[Tensor, ""]:
    """CLIP between M faulty images of each of N places and the one complete image that the teacher saw.

        L = 1/2 [ mean_im ( log sum_p exp(s_im . t_p) - s_im . t_i )
                + mean_i ( log sum_pm exp(s_pm . t_i) - mean_m s_im . t_i ) ],   s . t = scale cos(s, t)

    With M = 1 it is `clip` (Radford et al. 2021, figure 3), which Petcu 2024 uses with the constant scale
    exp(2.8952996730804443). With more, the teacher's embedding has M positives, averaged outside the logarithm as in
    SupCon (Khosla et al. 2020, eq. 2, L_out). Several masks against one embedding are ours. One place gives 0.

    Raises:
        ValueError: shapes that do not fit, or a scale that is not positive.
    """
    if student.ndim != 3 or teacher.shape != (student.shape[0], student.shape[2]):
        raise ValueError(f"N M D and N D are needed, not {tuple(student.shape)} and {tuple(teacher.shape)}")
    check_temperature(scale)
    with no_autocast(student):
        s, t = gather(full_precision(student)), gather(full_precision(teacher.detach()))
        if len(t) < 2:
            return zero(student)
        count = s.shape[1]
        a, b = unit(s.flatten(0, 1), scale), unit(t)
        rows, columns = cross_lse(a, b, scale)
        positives = (a * b.repeat_interleave(count, 0)).sum() / len(a)
        return (rows.mean() + columns.mean()) / 2 - positives


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be alike, N C or more"
        )

"""How a GPU runs the steps of a group (`recording`): no result depends on it beyond rounding."""

from typing import Literal

Execution = Literal["auto", "eager", "graph", "compiled"]
"""`eager`: one operation after the other. `graph`: a step is recorded once and replayed, where it can be.
`auto`: so where launching its operations is a large share of a step.
`compiled`: operations are fused first, on a CPU, too, and the step recorded on a GPU."""

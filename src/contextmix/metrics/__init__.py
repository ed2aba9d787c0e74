"""How good are the scores? One file per metric, each with one constant `METRIC`."""

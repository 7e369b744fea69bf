"""How often a training saves its state."""

SAVES_APART = 20  # times as long as a save takes, so that saves take at most about a twentieth of the time


def seconds_between_saves(save_every_seconds: float, save_seconds: float) -> float:
    """`save_seconds`: how long the last save took. Training waits meanwhile, and states of full weights are large:
    12 bytes for each parameter. 0 seconds mean a save after each step."""
    return max(save_every_seconds, SAVES_APART * save_seconds) if save_every_seconds > 0 else 0.0

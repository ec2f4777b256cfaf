"""Measuring hardware: operators timed on the device at hand, written as a table scenarios name.

`session` decides what is measured next and keeps what was, without knowing what measures; `torch`
is only in `bench`, `operators/`, `decoder` and what builds on them, and imported when used.
"""

from hermes.profile.command import Request, profile
from hermes.profile.families import FAMILIES

__all__ = ["FAMILIES", "Request", "profile"]

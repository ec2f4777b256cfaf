"""Media by name."""

from __future__ import annotations

import pytest

from hermes.catalog.media import find_medium, medium_names
from hermes.errors import UnknownNameError


@pytest.mark.parametrize("name", medium_names())
def test_every_medium_is_whole_and_has_a_source(name: str) -> None:
    medium = find_medium(name.upper())
    assert medium.name == name
    assert medium.bandwidth_gb_per_s > 0
    assert medium.latency_us >= 0
    assert medium.confidence in {"V", "R"}
    assert medium.source


def test_an_alias_is_enough_and_a_typo_is_pointed_out() -> None:
    assert find_medium("cxl").name == "cxl-x8"
    with pytest.raises(UnknownNameError, match="did you mean 'nvme-pcie4'"):
        find_medium("nvme-pci4")

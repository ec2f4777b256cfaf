"""What searching an index of vectors costs, on processors and on accelerators."""

from hermes.costs.retrieval.fit_in_memory import check_index_fits
from hermes.costs.retrieval.search import SearchCost, SearchWork

__all__ = ["SearchCost", "SearchWork", "check_index_fits"]

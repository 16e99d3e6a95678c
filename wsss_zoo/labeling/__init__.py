"""``wsss-zoo next`` and ``wsss-zoo audit``: which labels to add, and which to look at again."""

from wsss_zoo.labeling.audit import audit_labels
from wsss_zoo.labeling.next_images import NextImage, calibrate, choose_next, rank_pool
from wsss_zoo.labeling.opened_run import OpenedRun, open_run
from wsss_zoo.labeling.pool import Pool, find_pool
from wsss_zoo.labeling.suspects import Suspect, mask_faults, rank_suspects

__all__ = ["NextImage", "OpenedRun", "Pool", "Suspect", "audit_labels", "calibrate"]
__all__ += ["choose_next", "find_pool", "mask_faults", "open_run", "rank_pool", "rank_suspects"]

"""The study merging: fewer channels or fewer filters in residual networks.

`channels` merges the channels between two convolutions and shares filters in one, `networks` does so in all `blocks` of
a network, `allocation` decides how many channels each block keeps, and `variant` makes what the configuration names.
"""

from convpress.merging.channels import merge_channels

__all__ = ["merge_channels"]

"""The one exception for mistakes that a user can mend."""


class ConvpressError(ValueError):
    """Bad input. The message is one sentence that names the place and the way out."""

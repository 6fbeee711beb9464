"""From a channel of the request to a table that can be trained on; every data rule is a :class:`JobFailure`."""

"""The models that the SysNoise paper measures: what it says of them, where their weights lie, how to build them."""

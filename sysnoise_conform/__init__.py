"""conform: does a deployment target compute what PyTorch computes, and does it matter?"""

__version__ = "0.1.0"

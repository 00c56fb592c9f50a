"""Other people's evaluation programs, with an exported model on a runtime as theirs."""

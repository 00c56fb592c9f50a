from sysnoise_conform.matrix.facts import Matrix
def render(found: Matrix) -> str:
    return ""

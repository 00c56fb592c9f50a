"""Low precision as graph rewriting: the same converted graph for every backend and for the golden.

A `Recipe` says all that determines a converted graph; it comes from a variant's text (`recipe.recipe_of`), prints to
text and to JSON. The way is one way, and all of it but `calibrate`'s question to PyTorch's child is graph work on onnx
and numpy:

    recipe = recipe_of(variant, keep_fp32)          precision.recipe      None where the graph stays as it is
    ranges = calibrate(model, samples, ask)         precision.calibration one pass for all presets and observers
    converted = convert(model, recipe, ranges)      precision.convert     .proto, and .record of what was done
    variant_model = converted.opened(folder, name)  precision.convert     a Model like any other, read back and checked

int8 needs ranges from samples that are not judged. fp16 and bf16 take extremes of the judged samples
(`calibration.of_judged`), to leave in float32 what would overflow (`floats`, rule `range`): they fit nothing.

`presets` and `recipe` import neither numpy nor onnx: the registry reads them before anything else.
"""

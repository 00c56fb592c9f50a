"""Which files hold arrays and which are pictures, told without importing what reads them."""

ARRAYS = (".npy", ".npz", ".safetensors")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")

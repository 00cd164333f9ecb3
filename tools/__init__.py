"""Programs that generate documents and check the tree; nothing in the image or the wheel needs them."""

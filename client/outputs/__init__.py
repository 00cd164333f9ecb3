"""Where captions go; each form of output also says which images it has already."""

"""Conversations become token ids: templates, text that cannot act as markup, images in their places."""

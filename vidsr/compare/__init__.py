"""Pictures to decide by: a preview of one film by several models, or two films side by side."""

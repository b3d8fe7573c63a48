"""The import plan as a pure function of inventory, request and facts, and its renderers."""

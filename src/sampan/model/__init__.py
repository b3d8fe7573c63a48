"""Plain data in the specifications' words. No I/O, no logic beyond what a record says of itself.

Records are ``typing.NamedTuple``: frozen, slotted and typed like dataclasses, but the module costs
3 ms to import where ``dataclasses`` costs 14, and start-up is part of the product.
"""

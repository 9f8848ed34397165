"""How fast, against what.

Every figure is a ratio to a named peer, measured in the same call and in turns, as the median of repeated measurements
after a warm-up; the peer is first shown to compute the same. Nothing here is a test: times depend on the machine.
``command`` runs subjects, and each subject is a module: circuits, attention, optimizer, training.
"""

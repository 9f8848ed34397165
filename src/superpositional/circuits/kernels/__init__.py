"""What is worth writing in C++?

The few loops in which the method's time goes: Phi and its gradients, attention's softmax around it, AdamW with the term of
every scalar, registers of the optimizer's circuit. Each is compiled for the processor at hand when it is first needed
(``build``), stands beside the torch code that says what it computes, and is held to that by tests. Where no compiler is
found, under torch's own compiler and on other devices torch's code runs. Read by circuits, attention and the optimizer.
"""

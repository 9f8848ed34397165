"""C++ kernels of the loops that take the method's time, and their build.

Phi and its gradients, attention's softmax around it, AdamW with the term of every scalar, registers of the optimizer's
circuit. Each stands beside the torch code that says what it computes, and tests hold it to that. Where they are not built,
under torch's own compiler and on other devices torch's code computes.
"""

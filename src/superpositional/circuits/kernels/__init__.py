"""C++ kernels of the loops that take the method's time, and their build. Each stands beside the torch code that says what
it computes, and tests hold it to that; where they are not built or cannot serve, torch's code computes."""

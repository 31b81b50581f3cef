//! Token tries, packing, reference cache, optimiser loop and checkpoints

//! TAB-PO and the DPO family as pure functions from log-probs to loss and gradient

package ready

// oldWaitKind knows none: arm64 began without the old calls.
func oldWaitKind(int64) wait { return waitNone }

package handover

func master() int        { return 0 }
func victim() int        { return 0 }
func refusedMaster() int { return 0 }

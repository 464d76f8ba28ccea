package store

// SetSearchBudget makes pages look at that many rows and returns what undoes it.
func SetSearchBudget(n int) (undo func()) {
	old := searchBudget
	searchBudget = n
	return func() { searchBudget = old }
}

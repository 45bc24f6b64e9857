"""The strategy contract, its compiler, indicators and the strategies that ship."""

"""The only holder of a broker client that can place an order: checks, rates, order lifecycle, kill switch."""

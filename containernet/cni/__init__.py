"""CNI, the way in which container runtimes ask for a network: specification 0.3.0 to 1.1.0.

    runtime --environment, stdin--> executable --one line--> containernetd: request -> wishes -> Agent
            <-------stdout--------             <--one line--                        <- result <-

`executable` is what a runtime runs; it knows nothing of this package. `request`, `wishes` and `result` are
pure: from a runtime's words to values, and back. `plugin` does what is asked, `letters` keeps what could not be
asked. `install` puts the executable and a network configuration where runtimes look.
"""

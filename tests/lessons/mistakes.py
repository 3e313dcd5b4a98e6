"""A list of wrong solutions: the exercise, the function, and a phrase of the reason."""


class Mistakes(list):
    """Decorates functions: ``@wrong("7.2", "a phrase of the reason")``."""

    def __call__(self, exercise, phrase):
        """Enter the function below as a wrong solution of ``exercise``."""

        def enter(solution):
            self.append((exercise, solution, phrase))
            return solution

        return enter

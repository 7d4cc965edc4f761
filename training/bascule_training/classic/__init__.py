"""The classic model: two towers that each predict a user's items from the user's features, and a head that joins them.

Explanatory variables are embedded and pass two towers of 64 and 32 units. Each ends in a softmax over all items, and so
does their concatenation after one more layer of 32. Often shown, it cannot learn as it is shown: an embedding casts
numbers from 0 to 1 to the code 0, so that all users are one; and several targets at once are no distribution, for which
TensorFlow's softmax loss has a wrong gradient, which never ends. Here the features are coded as all towers of this
package read them, and the targets of a user sum to 1.
"""

"""Text: vocabularies, word vectors, recurrent models and mail for staged transfer learning."""

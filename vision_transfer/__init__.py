"""Images: backbones, heads and pretext tasks for staged transfer learning."""
